"""An append-only file of JSON objects, one a line: what was learned or paid for stays on disk, whatever happens.

A line is written in one piece and handed to the system before `append` returns, so a killed process loses none; what a
failing disk or machine cut off in the middle of the last line is dropped at the next start.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iadgpt_jax.errors import InputError


class Journal:
    """The journal at `path`, made where there is none. Threads may append at once."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("a+b")
        self._end = self._cut_torn_line()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, entry: dict[str, Any], durable: bool = False) -> int:
        """Write an entry; returns its place, for `at`. durable: also survives a loss of power."""
        data = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            place = self._end
            self._file.write(data)
            self._file.flush()
            self._end += len(data)
            if durable:
                os.fsync(self._file.fileno())
        return place

    def at(self, place: int) -> dict[str, Any]:
        """The entry at a place."""
        with self._lock:
            self._file.seek(place)
            return json.loads(self._file.readline())

    def entries(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(place, entry) of all that is there, in order.

        Raises InputError for a line that is not an object of JSON.
        """
        place = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = json.loads(line)
                except ValueError as error:
                    raise InputError(
                        f"{self.path}, line {number} is damaged ({error}); remove this line and start again"
                    ) from error
                yield place, entry
                place += len(line)

    def _cut_torn_line(self) -> int:
        """Drops a last line without its end; returns the file's length."""
        size = self._file.seek(0, os.SEEK_END)
        back = size
        while back:  # to the last line break
            step = min(back, 65536)
            self._file.seek(back - step)
            found = self._file.read(step).rfind(b"\n")
            if found >= 0:
                back = back - step + found + 1
                break
            back -= step
        if back < size:
            self._file.truncate(back)
        self._file.seek(0, os.SEEK_END)
        return back
