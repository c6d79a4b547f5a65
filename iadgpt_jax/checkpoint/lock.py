"""One process at a time works in a folder: a LOCK file, on any file system that hosts share, that no crash leaves shut.

The file says who holds it: host, process, when that process started, and a random token. A thread touches it every few
seconds. A lock is stale where its process is gone (seen on the same host), or where nobody has touched it for STALE
seconds: by the file's own times and by watching it, so that clocks of hosts need not agree. A stale lock is taken over
with a word. Whoever finds that his lock was taken over stops before he writes.

Neither kernel locks (flock), which not every network file system has, nor hard links are needed. In a bucket an object
takes the file's place (lock_file.py), which is watched for STALE seconds where its holder is not known to be gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from iadgpt_jax.bucket_files import place
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.checkpoint.lock_file import file_at
from iadgpt_jax.errors import InputError, refuse_bucket

FILE = "LOCK"
BEAT = 10.0  # seconds between two touches
STALE = 120.0  # seconds without a touch after which a lock is nobody's
SETTLED = 1.0  # seconds in which whoever takes over a stale lock at the same moment has done so
WATCH = 0.5  # seconds between two looks at a lock that may be stale

Say = Callable[[str], None]


class Lock:
    """The lock of a folder, held from `take` to `release`."""

    def __init__(self, folder: str | Path, say: Say | None = None):
        self.folder, self.path, self.say = place(folder), place(folder) / FILE, say or _say
        self.file = file_at(self.path)
        self.mine = {**_this_process(), "token": secrets.token_hex(8), "command": " ".join(sys.argv)[:200]}
        self._lost: str | None = None
        self._end = threading.Event()
        self._beating: threading.Thread | None = None

    def take(self) -> None:
        """Raises:
        InputError: another process works in the folder, or nothing can be written there.
        """
        try:
            if not self._create():
                self._take_over()
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}): choose another folder") from error
        self._beating = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._beating.start()

    def check(self) -> None:
        """Raises InputError where somebody else has taken the lock. Ask before writing what must not be mixed."""
        self._look()
        if self._lost:
            raise InputError(f"{self._lost}; this process stops, and has written nothing since")

    def release(self) -> None:
        if self._beating is not None:
            self._end.set()
            self._beating.join()
            self._beating = None
        self._look()
        if not self._lost:
            self.file.remove()

    def _create(self) -> bool:
        """Whether there was no lock, and now there is this one."""
        return self.file.create(json.dumps(self.mine).encode())

    def _take_over(self) -> None:
        """The lock of somebody who is gone. Raises InputError where its holder lives."""
        holder = self._wait_until_stale()
        if holder is None:  # released meanwhile
            if not self._create():
                raise InputError(self._held_by(read(self.path)))
            return
        self.file.replace(json.dumps(self.mine).encode())
        time.sleep(SETTLED)
        if (now := read(self.path)) is None or now.get("token") != self.mine["token"]:
            raise InputError(self._held_by(now))
        self.say(f"{self.path} was left by {_named(holder)}, which is gone: it is taken over")

    def _wait_until_stale(self) -> dict[str, Any] | None:
        """The holder, once it is known to be gone; None where there is no lock any more."""
        holder, touched = read(self.path), self.file.touched()
        if holder is None:
            return None
        alive = _alive(holder)
        if alive:
            raise InputError(self._held_by(holder))
        untouched = None if alive is False else self.file.untouched()
        if alive is False or (untouched is not None and untouched > STALE):
            return holder
        self.say(f"{self.path} is held by {_named(holder)}: waiting up to {STALE:.0f} s to see whether it lives")
        end = time.monotonic() + STALE
        while time.monotonic() < end:
            time.sleep(WATCH)
            if (now := read(self.path)) is None:
                return None
            if now != holder or self.file.touched() != touched:
                raise InputError(self._held_by(now))
        return holder

    def _held_by(self, holder: dict[str, Any] | None) -> str:
        who = _named(holder) if holder else "another process"
        return f"{self.folder} is in use by {who}: wait for it, end it, or choose another folder"

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            self._look()
            if self._lost:
                self.say(f"warning: {self._lost}")
                return
            try:
                self.file.touch()
            except Exception as error:  # a file system that is away for a while; a bucket has many ways to be
                if not isinstance(error, OSError) and not is_bucket(self.path):
                    raise

    def _look(self) -> None:
        try:
            holder = read(self.path)
        except Exception as error:  # away for a while; what is written meanwhile fails by itself
            if not isinstance(error, OSError) and not is_bucket(self.path):
                raise
            return
        if holder is None:
            self._lost = f"{self.path}, which this process wrote, was removed"
        elif holder.get("token") != self.mine["token"]:
            self._lost = f"{self.path} was taken over by {_named(holder)}"


@contextlib.contextmanager
def locked(folder: str | Path, say: Say | None = None) -> Iterator[Lock]:
    """The lock of a folder, made where there is none, while the context lasts. Raises InputError as `Lock.take`."""
    refuse_bucket(folder)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder} ({error.strerror}): choose another folder") from error
    lock = Lock(folder, say)
    lock.take()
    try:
        yield lock
    finally:
        lock.release()


def read(path: Path) -> dict[str, Any] | None:
    """What a LOCK file says; None: there is none; {}: it is being written, or damaged."""
    try:
        holder = json.loads(file_at(path).read())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _alive(holder: dict[str, Any]) -> bool | None:
    """Whether the process lives; None: that cannot be told from here."""
    here = _this_process()
    if any(holder.get(name) != here[name] for name in ("host", "boot", "processes")):
        return None
    try:
        return _started(int(holder["process"])) == holder["started"]
    except (KeyError, ValueError, TypeError):
        return None


def _this_process() -> dict[str, Any]:
    """`boot` and `processes` say whose process numbers these are: a container has its own, under a host name that may
    be another's."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(), "boot": _boot(), "processes": _namespace(), "process": pid,
        "started": _started(pid),
    }  # fmt: skip


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process of this host was started, in the kernel's words; None: there is none. Where there is no /proc, a
    process that lives has always been there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except FileNotFoundError:
        pass
    except OSError:
        return None
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "a process that is not named"
    return f"process {holder.get('process')} on {holder.get('host')} ({holder.get('command')})"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
