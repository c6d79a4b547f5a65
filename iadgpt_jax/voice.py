"""What commands say beside their results: lines on standard error, in colour on a terminal only.

Results go to standard output, so that a pipe gets them alone. `--quiet` leaves warnings and errors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

RED, YELLOW = "31", "33"
_WARNING = "warning: "  # so that what gets a single function to speak with can warn, too
_QUIET = False


def set_quiet(on: bool) -> bool:
    """Whether `say` and progress are silent from now on; returns whether they were."""
    global _QUIET
    before, _QUIET = _QUIET, on
    return before


def is_quiet() -> bool:
    return _QUIET


def say(line: str) -> None:
    """What is being done, for whoever waits; a line that begins with "warning: " is a warning, as `warn` says it."""
    if line.startswith(_WARNING):
        warn(line.removeprefix(_WARNING))
    elif not _QUIET:
        print(line, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    """What went otherwise than asked for, though the work goes on."""
    print(f"{coloured('warning:', YELLOW)} {line}", file=sys.stderr, flush=True)


def warn_lines(lines: Iterable[str]) -> None:
    """Several warnings; a line that begins with a space goes on with the one before."""
    for line in lines:
        if line.startswith(" "):
            print(line, file=sys.stderr, flush=True)
        else:
            warn(line)


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text, coloured where the stream (standard error by default) is a terminal and NO_COLOR is not set."""
    terminal = (stream or sys.stderr).isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{colour}m{text}\033[0m" if terminal else text


def rewrites(stream: TextIO) -> bool:
    """Whether a line can be written again in its place: on a terminal, and in a notebook, which calls itself none."""
    return stream.isatty() or type(stream).__module__.startswith("ipykernel")
