"""Ends a training whose steps have stopped coming, so that whoever started it can start it again.

A read from a network file system that never returns, a device or another host that no longer answers: none of these
raises an error, and a job that waits for them costs as much as one that works. A thread looks at the clock. When no
step was done for too long, it prints every thread's stack and one line, and ends the process with status TRY_AGAIN.
Checkpoints appear whole or not at all, so the last one stays as it is.

Should a library hold Python's own lock, that thread cannot run either. Then faulthandler, whose thread needs no lock,
prints the stacks and ends the process with status 1.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import socket
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator

from iadgpt_jax.errors import TRY_AGAIN

AUTOMATIC = -1.0  # minutes: by the time that steps take
TIMES, LEAST = 20, 600.0  # automatic: so many times the median step, in seconds at least
SLOW = 3600.0  # seconds in which what is slow must be done: compiling, waiting for a checkpoint to be written
WINDOW = 50  # steps that the median is of
LOOK = 10.0  # seconds between two looks at the clock, at most
HELD = 60.0  # seconds that the thread may be late before faulthandler takes its place


class Watchdog:
    """Watches from `start` to `close`. The loop says what it does (`doing`, `slowly`) and when a step is done."""

    def __init__(self, minutes: float, workdir: str, process: int = 0, processes: int = 1):
        """minutes: without a step, before the job is ended; AUTOMATIC: by the time that steps take; 0: never."""
        self.minutes, self.workdir, self.process, self.processes = minutes, workdir, process, processes
        self.times: deque[float] = deque(maxlen=WINDOW)
        self.what, self.step, self.since, self.is_slow = "starting", 0, time.monotonic(), True
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, step: int) -> None:
        """Begin to watch; `step` steps were done before."""
        self.step, self.since = step, time.monotonic()
        if self.minutes:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def doing(self, what: str) -> None:
        """What is being done from now on, for the line."""
        self.what = what

    def done(self, step: int) -> None:
        """After each step."""
        now = time.monotonic()
        if not self.is_slow:
            self.times.append(now - self.since)
        self.step, self.since, self.is_slow = step, now, False

    @contextlib.contextmanager
    def slowly(self, what: str) -> Iterator[None]:
        """Around what may take much longer than a step. Its time counts from its beginning, and in no median."""
        before = self.is_slow
        self.what, self.since, self.is_slow = what, time.monotonic(), True
        try:
            yield
        finally:
            self.since, self.is_slow = time.monotonic(), before

    def close(self) -> None:
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._thread = None

    @property
    def limit(self) -> float:
        """Seconds without a step after which the job is ended."""
        usual = TIMES * statistics.median(self.times) if self.times else 0.0
        limit = max(LEAST, usual) if self.minutes == AUTOMATIC else 60 * self.minutes
        return max(limit, SLOW) if self.is_slow else limit

    def _watch(self) -> None:
        look = LOOK if self.minutes == AUTOMATIC else min(LOOK, 60 * self.minutes / 4)
        try:
            while True:
                left = self.since + self.limit - time.monotonic()
                faulthandler.dump_traceback_later(max(left, 0) + look + HELD, exit=True, file=2)
                if self._end.wait(look):
                    return
                if time.monotonic() - self.since > self.limit:
                    _end_process(self._line())
                    return
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _line(self) -> str:
        who = f"process {self.process} of {self.processes}" if self.processes > 1 else f"process {os.getpid()}"
        return (
            f"{who} on {socket.gethostname()} has not done a step for {time.monotonic() - self.since:.0f} s, after "
            f"step {self.step} of {self.workdir}, while {self.what} (every thread's stack is above): start the same "
            "command again, which goes on from the last checkpoint; where steps take that long, raise "
            "config.watchdog_minutes"
        )


def _end_process(line: str) -> None:
    """Nothing is waited for and nothing is written but the stacks and the line: either could hang, too."""
    faulthandler.dump_traceback(2, all_threads=True)
    os.write(2, f"error: {line}\n".encode())
    for child in multiprocessing.active_children():  # loaders; otherwise they would live on
        child.kill()
    os._exit(TRY_AGAIN)
