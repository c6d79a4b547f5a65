"""One process at a time works in a folder, as far as this machine's kernel can say (flock).

The lock goes with the process, however it ends, so it is never stale. checkpoint/lock.py has the lock for folders that
several hosts share.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from iadgpt_jax.errors import InputError, refuse_bucket

FILE = ".lock"


@contextlib.contextmanager
def alone_in(folder: Path, work: str, instead: str) -> Iterator[None]:
    """The folder, made where there is none, for one process at a time.

    work: what a process does there ("preparing DIR"); instead: how to choose another folder ("choose another --out").
    Raises InputError where the folder cannot be written or locked, or another process is at work in it.
    """
    refuse_bucket(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / FILE).open("w")
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; {instead}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is {work}; wait for it, or {instead}") from error
        except OSError as error:  # some network file systems have no locks
            raise InputError(f"{folder} cannot be locked ({error.strerror}); {instead}") from error
        yield
