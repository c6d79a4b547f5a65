"""Processes to be killed with SIGKILL, cheaply: one that has imported everything forks one for each command.

Run as `python -m tests.corpus.forks` it reads commands as JSON, one a line, and writes the process id of each, and its
status when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """The process that forks, from the other side. One command at a time."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self._pid = 0

    def start(self, command: list[str]) -> None:
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._pid = int(self._process.stdout.readline())

    def running(self) -> bool:
        return not select.select([self._process.stdout], [], [], 0)[0]

    def kill(self) -> None:
        """Nothing happens to one that has ended: it is not waited for before its status is read."""
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def status(self) -> int:
        """0, or that of a killed process; anything else is an error."""
        status = int(self._process.stdout.readline())
        assert status in (0, -signal.SIGKILL), f"status {status}; what it said is on standard error"
        return status


@contextlib.contextmanager
def forks() -> Iterator[Forks]:
    """Commands of tools/build_corpus.py as processes, until the context ends."""
    command = [sys.executable, "-m", "tests.corpus.forks"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield Forks(process)
        process.stdin.close()


def main() -> None:
    import array_record.python.array_record_module
    import imagehash
    import openai.resources.chat
    import tensorflow_datasets as tfds

    from tools import build_corpus

    _ = array_record.python.array_record_module, imagehash, openai.OpenAI, tfds.features, tfds.core.DatasetInfo
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os.dup2(2, 1)
            status = 1
            try:
                build_corpus.main(json.loads(line))
                status = 0
            except SystemExit as exit_:
                status = exit_.code
            finally:
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
