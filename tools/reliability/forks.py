"""Processes to be killed, cheaply: one that has imported everything forks one for each command.

Run as `python -m tools.reliability.forks MAIN [NAME …]` it imports MAIN, a function written as module:function, and
NAMEs, modules or what they hold, and reads commands as JSON, one a line: the words that MAIN gets, and the file that
takes what the process says. It writes the process id of each, and its status when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Forks:
    """The process that forks, from the other side. One command at a time."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self._pid = 0

    def start(self, command: Sequence[str], said: Path | None = None) -> None:
        """said: takes what the process writes, after what is there already; None: standard error does."""
        line = json.dumps({"words": list(command), "said": said and str(said)})
        self._process.stdin.write(line.encode() + b"\n")
        self._pid = int(self._process.stdout.readline())

    def running(self) -> bool:
        return not select.select([self._process.stdout], [], [], 0)[0]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Nothing happens to one that has ended: it is not waited for before its status is read."""
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended after so long at most."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def status(self) -> int:
        """Exit status of the process, waited for; that of one which a signal ended is the signal's, negative."""
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def forks(main: str, names: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[Forks]:
    """Calls of `main` as processes, until the context ends. names: to be imported once, for all of them."""
    command = [sys.executable, "-m", "tools.reliability.forks", main, *names]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        yield Forks(process)
        process.stdin.close()


def serve(main: str, names: Sequence[str]) -> None:
    call, *_ = [pkgutil.resolve_name(name) for name in (main, *names)]
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX has no threads before it is asked for devices
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if not pid:
            if command["said"]:
                os.dup2(os.open(command["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(2, 1)
            os._exit(status_of(call, command["words"]))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def status_of(call, words: Sequence[str]) -> int:
    """The exit status that a command gives."""
    try:
        call(words)
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
