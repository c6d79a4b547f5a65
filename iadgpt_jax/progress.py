"""Progress of a command: one line with count, rate and time left.

On a terminal and in a notebook the line is rewritten in place; a log file gets a new line every few seconds, and
--quiet none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from iadgpt_jax import voice

T = TypeVar("T")


class Meter:
    """Prints progress when called with (done, total), but no more often than the stream should get.

    verb: what is being done. unit: what is counted. stream: where to write; standard error by default. seconds: between
    two lines in a log file; on a terminal the line is rewritten at most four times a second.
    """

    def __init__(self, verb: str, unit: str, stream: TextIO | None = None, seconds: float = 5.0):
        self.verb, self.unit, self.stream = verb, unit, stream or sys.stderr
        self.clear = "\033[K" if self.stream.isatty() else ""  # to the end of the line, which a notebook cannot
        self.rewrites = voice.rewrites(self.stream)
        self.interval = 0.25 if self.rewrites else seconds
        self.start = self.printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if voice.is_quiet() or (done < total and now - self.printed < self.interval):
            return
        self.printed = now
        rate = done / max(now - self.start, 1e-9)
        line = f"{self.verb} {done}/{total} {self.unit}, {rate:.3g}/s, "
        line += f"{now - self.start:.0f} s in all" if done >= total else f"{(total - done) / rate:.0f} s left"
        self.stream.write(f"\r{self.clear}{line}" + "\n" * (done >= total) if self.rewrites else line + "\n")
        self.stream.flush()


def progress(
    items: Iterable[T], total: int, verb: str, unit: str, stream: TextIO | None = None, seconds: float = 5.0
) -> Iterator[T]:
    """Yield the items and print progress: "preparing 120/783 images, 210/s, 3 s left". Arguments as of `Meter`."""
    meter = Meter(verb, unit, stream, seconds)
    for done, item in enumerate(items, 1):
        yield item
        meter(done, total)
