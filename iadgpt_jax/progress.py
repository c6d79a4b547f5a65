"""How far a command is: one line with count, rate and time left.

A terminal sees one line that changes; a log file gets a new line every few seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")


def progress(
    items: Iterable[T], total: int, verb: str, unit: str, stream: TextIO | None = None, seconds: float = 5.0
) -> Iterator[T]:
    """Hand the items through and say how far they are: "preparing 120/783 images, 210/s, 3 s left".

    Args:
      items: what is worked through; `total` of them.
      verb: what is being done.
      unit: what is counted.
      stream: where to write; standard error by default.
      seconds: between two lines of a log. A terminal's line is renewed four times a second.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    interval = 0.25 if terminal else seconds
    start = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if done < total and now - said < interval:
            continue
        said = now
        rate = done / max(now - start, 1e-9)
        line = f"{verb} {done}/{total} {unit}, {rate:.3g}/s, "
        line += f"{now - start:.0f} s in all" if done >= total else f"{(total - done) / rate:.0f} s left"
        stream.write(f"\r\033[K{line}" + "\n" * (done >= total) if terminal else line + "\n")
        stream.flush()
