"""Files of a workdir with one JSON object a line, each of a step: metrics.jsonl and what train/guard.py writes aside.

A run that goes on continues them. A full disk costs lines, never the run, and leaves no half line behind.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WAITING = 10_000  # lines kept in memory while the disk takes none


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
        self.waiting = [*self.waiting[-WAITING:], (json.dumps(_finite(line), allow_nan=False) + "\n").encode()]
        if self._descriptor is None:
            return
        try:
            self._append(b"".join(self.waiting))
            self.waiting = []
            self._failing = False
        except OSError as error:
            self._failed(error)

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
        written = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        steps = [_step_of(line) for line in written]
        if damaged := sum(at is None for at, line in zip(steps, written, strict=True) if line.endswith(b"\n")):
            self.say(f"warning: {damaged} lines of {self.path} are damaged and left out")
        kept = [line for line, at in zip(written, steps, strict=True) if at is not None and at <= step]
        if kept != written:
            aside = self.path.with_suffix(".aside")
            aside.write_bytes(b"".join(kept))
            aside.replace(self.path)


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
