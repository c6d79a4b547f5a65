"""One process at a time works in a job's folder.

The lock is the kernel's (flock) on an open file that the working process inherits: it holds as long as the sweep or
the process that the sweep started lives, and no longer. So a sweep that was killed leaves no stale lock, and one that
is started again waits for a training that its predecessor left running instead of writing into the same workdir.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FILE = ".lock"
POLL = 0.2  # seconds between two looks at a lock that another process holds


@contextlib.contextmanager
def held(folder: Path, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[int | None]:
    """The descriptor of the folder's lock, to be passed on to the process that works there; None where `stop()` became
    true before it was free. waiting(who holds it) is called once if one has to wait."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop():
                    yield None
                    return
                if not told:
                    waiting(os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process")
                    told = True
                time.sleep(POLL)
        mark(descriptor, os.getpid())
        yield descriptor
    finally:
        os.close(descriptor)  # releases it, unless a process that inherited it still lives


def mark(descriptor: int, pid: int) -> None:
    """Say in the file which process works there, for whoever waits for it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {pid} on {socket.gethostname()}\n".encode(), 0)
