"""The file behind a lock (lock.py): in a folder, or an object in a bucket."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from iadgpt_jax.bucket_files import file_system
from iadgpt_jax.buckets import address, is_bucket


class FolderFile:
    """A file that comes to be at most once, and is replaced whole."""

    def __init__(self, path: Path):
        self.path = path

    def create(self, content: bytes) -> bool:
        """Whether there was none, and now there is this one."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, content)
        except OSError:  # a full disk
            self.path.unlink()
            raise
        finally:
            os.close(descriptor)
        return True

    def read(self) -> bytes:
        """Raises FileNotFoundError where there is none."""
        return self.path.read_bytes()

    def replace(self, content: bytes) -> None:
        aside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        aside.write_bytes(content)
        aside.replace(self.path)

    def touch(self) -> None:
        os.utime(self.path)

    def touched(self) -> object:
        """Another value after every touch."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def untouched(self) -> float | None:
        """Seconds since it was touched, by the clock that gives files of this folder their times; None: unknown."""
        touched = self.touched()
        if touched is None:
            return None
        probe = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        probe.touch()
        try:
            return (probe.stat().st_mtime_ns - touched) / 1e9
        finally:
            probe.unlink()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class BucketFile:
    """The same in a bucket. It is touched by a note on the object, so that a touch overwrites nobody's content."""

    def __init__(self, path):
        self.path, self.system = address(path), file_system(path)

    def create(self, content: bytes) -> bool:
        if self.system.exists(self.path):
            return False
        try:
            self.system.pipe_file(self.path, content, mode="create")  # refused where it has come to be meanwhile
        except FileExistsError:
            return False
        return True

    def read(self) -> bytes:
        return self.system.cat_file(self.path)

    def replace(self, content: bytes) -> None:
        self.system.pipe_file(self.path, content)

    def touch(self) -> None:
        self.system.setxattrs(self.path, beat=str(time.time_ns()))

    def touched(self) -> object:
        try:
            told = self.system.info(self.path)
        except FileNotFoundError:
            return None
        return told.get("generation"), told.get("metageneration"), str(told.get("metadata"))

    def untouched(self) -> float | None:
        return None

    def remove(self) -> None:
        if self.system.exists(self.path):
            self.system.rm_file(self.path)


def file_at(path) -> FolderFile | BucketFile:
    return BucketFile(path) if is_bucket(path) else FolderFile(Path(path))
