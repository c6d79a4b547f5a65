"""Files of a workdir with one JSON object a line, each of a step: metrics.jsonl and what train/guard.py writes aside.

A run that goes on continues them. A full disk costs lines, never the run, and leaves no half line behind. In a bucket,
where nothing can be appended to, the file is written anew every while, by a thread.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from iadgpt_jax.buckets import is_bucket

WAITING = 10_000  # lines kept in memory while the disk takes none
EVERY = 30.0  # seconds after which a file in a bucket is written again


class Lines:
    """Appends to `path`, at first without lines past `step`, the one training goes on from: a run that was killed may
    have written further than its last checkpoint, or half a line. Lines that are damaged are left out, too.

    Where nothing can be written, `say` gets one line, and what was to be written waits until it can.
    """

    def __init__(self, path: Path, step: int, say: Callable[[str], None]):
        self.path, self.say = path, say
        self.waiting: list[bytes] = []
        self._failing = False
        self._descriptor: int | None = None
        try:
            self._tidy(step)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self._failed(error)

    def write(self, line: Mapping[str, Any]) -> None:
        """Numbers that are not finite are null, for JSON has none."""
        self.waiting = [*self.waiting[-WAITING:], _encoded(line)]
        if self._descriptor is None:
            return
        try:
            self._append(b"".join(self.waiting))
            self.waiting = []
            self._failing = False
        except OSError as error:
            self._failed(error)

    def flush(self) -> None:
        """Nothing is kept back here."""

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self.waiting:
            self.say(f"warning: {len(self.waiting)} lines of {self.path} could not be written")

    def _append(self, data: bytes) -> None:
        """All of it, or nothing."""
        before = os.fstat(self._descriptor).st_size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            self.say(f"warning: {self.path} cannot be written ({error.strerror}): training goes on without it")
        self._failing = True

    def _tidy(self, step: int) -> None:
        written = self.path.read_bytes() if self.path.exists() else b""
        kept, damaged = _up_to(written, step)
        if damaged:
            self.say(f"warning: {damaged} lines of {self.path} are damaged and left out")
        if kept != written.splitlines(keepends=True):
            aside = self.path.with_suffix(".aside")
            aside.write_bytes(b"".join(kept))
            aside.replace(self.path)


class BucketLines:
    """The same for a file in a bucket: all lines are kept in memory, and the file is written whole every EVERY seconds,
    and by `flush` and `close`."""

    def __init__(self, path: Any, step: int, say: Callable[[str], None]):
        self.path, self.say = path, say
        self._thread, self._writing = ThreadPoolExecutor(1, "lines"), None
        self._failing, self._since = False, time.monotonic()
        written = path.read_bytes() if path.exists() else b""
        kept, damaged = _up_to(written, step)
        if damaged:
            say(f"warning: {damaged} lines of {path} are damaged and left out")
        self._lines, self._unwritten = kept, kept != written.splitlines(keepends=True)

    def write(self, line: Mapping[str, Any]) -> None:
        self._lines.append(_encoded(line))
        self._unwritten = True
        if time.monotonic() - self._since >= EVERY and (self._writing is None or self._writing.done()):
            self._begin()

    def flush(self) -> None:
        """Return when all is written, or it is said that it cannot be."""
        if self._unwritten:
            self._begin()
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        self.flush()
        self._thread.shutdown()

    def _begin(self) -> None:
        self._since, self._unwritten = time.monotonic(), False
        self._writing = self._thread.submit(self._write, b"".join(self._lines))

    def _write(self, content: bytes) -> None:
        try:
            self.path.write_bytes(content)
            self._failing = False
        except Exception as error:  # whatever class a bucket's client raises
            self._unwritten = True
            if not self._failing:
                self.say(f"warning: {self.path} cannot be written ({error}): training goes on without it")
            self._failing = True


def lines_at(path: Any, step: int, say: Callable[[str], None]) -> Lines | BucketLines:
    """Those of a file, in a folder or in a bucket. Arguments as of `Lines`."""
    return BucketLines(path, step, say) if is_bucket(path) else Lines(path, step, say)


def _up_to(written: bytes, step: int) -> tuple[list[bytes], int]:
    """The lines up to a step, and how many whole lines are damaged."""
    lines = written.splitlines(keepends=True)
    steps = [_step_of(line) for line in lines]
    damaged = sum(at is None for at, line in zip(steps, lines, strict=True) if line.endswith(b"\n"))
    return [line for line, at in zip(lines, steps, strict=True) if at is not None and at <= step], damaged


def _encoded(line: Mapping[str, Any]) -> bytes:
    return (json.dumps(_finite(line), allow_nan=False) + "\n").encode()


def _step_of(line: bytes) -> int | None:
    """The step of a whole line; None of one that is cut short or damaged."""
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return {key: _finite(one) for key, one in value.items()} if isinstance(value, Mapping) else value
