"""Damage to files, one after the other, each undone before the next: truncated, deleted, one bit flipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple


class Damage(NamedTuple):
    """What is done to a file. kind: "truncated", "deleted" or "bit flipped"."""

    kind: str
    path: Path
    apply: Callable[[], None]


def damages(files: Sequence[Path], flips: int, rng: Random) -> Iterator[Damage]:
    """Every file cut off somewhere and deleted, and one bit flipped in so many places, drawn file by file."""
    for path in files:
        yield Damage("deleted", path, path.unlink)
        if size := path.stat().st_size:
            yield Damage("truncated", path, partial(truncate, path, rng.randrange(size)))
    filled = [path for path in files if path.stat().st_size]
    for _ in range(flips):
        path = rng.choice(filled)
        yield Damage("bit flipped", path, partial(flip, path, rng.randrange(8 * path.stat().st_size)))


@contextlib.contextmanager
def damaged(damage: Damage) -> Iterator[None]:
    """The file as the damage leaves it; afterwards as it was."""
    whole = damage.path.read_bytes()
    damage.apply()
    try:
        yield
    finally:
        damage.path.unlink(missing_ok=True)  # what has it open or mapped keeps what it saw
        damage.path.write_bytes(whole)


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def truncate(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
