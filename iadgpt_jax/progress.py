"""How far a command is: one line with count, rate and time left.

A terminal sees one line that changes; a log file gets a new line every few seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")


class Meter:
    """Says how far something is whenever it is called with (done, total): at once on a terminal's one line, every few
    seconds in a log.

    verb: what is being done. unit: what is counted. stream: where to write; standard error by default. seconds: between
    two lines of a log; a terminal's line is renewed four times a second.
    """

    def __init__(self, verb: str, unit: str, stream: TextIO | None = None, seconds: float = 5.0):
        self.verb, self.unit, self.stream = verb, unit, stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.interval = 0.25 if self.terminal else seconds
        self.start = self.said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.said < self.interval:
            return
        self.said = now
        rate = done / max(now - self.start, 1e-9)
        line = f"{self.verb} {done}/{total} {self.unit}, {rate:.3g}/s, "
        line += f"{now - self.start:.0f} s in all" if done >= total else f"{(total - done) / rate:.0f} s left"
        self.stream.write(f"\r\033[K{line}" + "\n" * (done >= total) if self.terminal else line + "\n")
        self.stream.flush()


def progress(
    items: Iterable[T], total: int, verb: str, unit: str, stream: TextIO | None = None, seconds: float = 5.0
) -> Iterator[T]:
    """Hand the items through and say how far they are: "preparing 120/783 images, 210/s, 3 s left". See `Meter`."""
    meter = Meter(verb, unit, stream, seconds)
    for done, item in enumerate(items, 1):
        yield item
        meter(done, total)
