"""Which instance goes into which row, before anything is laid down: whole instances by falling size, and then, where
asked for, rows are filled up: with further query blocks of the instances they hold, then with further instances.

A further query block costs its own slots only, because the shared images are there already; so growing both leaves
little empty and makes references serve more queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.row_shape import RowShape

MISFITS = 4  # each has been read in vain


class Member(NamedTuple):
    """An instance in a row: its number, and where its shared part and its blocks start."""

    number: int
    encoded: Encoded
    shared_at: int
    block_at: list[int]


class Row:
    """What is taken of one row so far: runs of free slots as [next, end), first the prefix area, then each lane."""

    def __init__(self, shape: RowShape):
        self.shape = shape
        self.runs = [list(run) for run in (shape.lanes.runs() if shape.lanes else [(0, shape.slots)])]
        self.images = self.maps = self.targets = 0
        self.members: list[Member] = []

    @property
    def room(self) -> int:
        return sum(end - start for start, end in self.runs)

    def take(self, number: int, encoded: Encoded) -> bool:
        """Place a whole instance, or leave everything as it was."""
        shape = self.shape
        images = self.images + len(encoded.images)
        maps = self.maps + sum(1 for block in encoded.blocks if block.keyword_rows or block.scored)
        targets = self.targets + sum(len(block.targets) for block in encoded.blocks)
        if images > shape.images or maps > shape.maps or targets > shape.targets:
            return False
        runs = [run[:] for run in self.runs]
        starts = []
        for index, length in enumerate([len(encoded.shared), *(len(block.segment) for block in encoded.blocks)]):
            allowed = runs[:1] if index == 0 or len(runs) == 1 else runs[1:]
            fitting = [run for run in allowed if run[1] - run[0] >= length]
            if not fitting:
                return False
            # The tightest run: a short block must not take the lane a long one needs.
            run = min(fitting, key=lambda run: run[1] - run[0])
            starts.append(run[0])
            run[0] += length
        self.runs, self.images, self.maps, self.targets = runs, images, maps, targets
        self.members.append(Member(number, encoded, starts[0], starts[1:]))
        return True

    def exchanged(self, number: int, encoded: Encoded) -> Row | None:
        """The row with another form of one of its instances, laid anew; None where that does not fit."""
        row = Row(self.shape)
        forms = ((m.number, encoded if m.number == number else m.encoded) for m in self.members)
        return row if all(row.take(*form) for form in forms) else None


@dataclass(frozen=True)
class Filler:
    """What rows may take beyond the instances drawn for them.

    grow: an instance -> the same with one more query block, or None when it has no more. spares: further instances,
    taken while they fit.
    """

    grow: Callable[[Encoded], Encoded | None]
    spares: Iterator[Encoded]


def fits(encoded: Encoded, shape: RowShape) -> bool:
    """Whether an empty row holds the instance."""
    return Row(shape).take(0, encoded)


def first_fit(encodeds: Sequence[Encoded], count: int, shape: RowShape) -> list[Row]:
    """First fit by falling size into `count` rows."""
    return _placed(encodeds, count, shape, order=lambda rows: rows)


def place_and_fill(encodeds: Sequence[Encoded], count: int, shape: RowShape, filler: Filler) -> list[Row]:
    """By falling size, each into the emptiest row, so that every row gets something that grows; then filled up.

    Spares are numbered after the given instances. One that fits nowhere whole comes with as many of its blocks as fit;
    after MISFITS of them the rows count as full.
    """
    rows = _placed(encodeds, count, shape, order=_emptiest_first)
    if sum(len(row.members) for row in rows) < len(encodeds):
        rows = first_fit(encodeds, count, shape)
    rows = [_grown(row, filler.grow) for row in rows]
    number, misfits = len(encodeds), 0
    for spare in filler.spares:
        if any(row.take(number, spare) for row in _emptiest_first(rows)) or _take_part(rows, number, spare):
            number += 1
        else:
            misfits += 1
            if misfits == MISFITS:
                break
    return rows


def _emptiest_first(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row.room)


def _take_part(rows: list[Row], number: int, spare: Encoded) -> bool:
    """Place a spare without some of its blocks. Which ones stay goes round with its number: none is preferred."""
    count = len(spare.blocks)
    for kept in range(count - 1, 0, -1):
        part = spare.with_blocks(sorted((number + i) % count for i in range(kept)))
        if any(row.take(number, part) for row in _emptiest_first(rows)):
            return True
    return False


def _placed(encodeds, count: int, shape: RowShape, order) -> list[Row]:
    rows = [Row(shape) for _ in range(count)]
    for number in sorted(range(len(encodeds)), key=lambda i: (-encodeds[i].slots, i)):
        any(row.take(number, encodeds[number]) for row in order(rows))
    return rows


def _grown(row: Row, grow: Callable[[Encoded], Encoded | None]) -> Row:
    """One more block for each instance in turn, until none fits."""
    growing = [member.number for member in row.members]
    while growing:
        for number in list(growing):
            encoded = next(member.encoded for member in row.members if member.number == number)
            # Looked up first, because making a block means reading photographs.
            if row.images == row.shape.images or min(len(block.segment) for block in encoded.blocks) > row.room:
                larger = None
            else:
                larger = grow(encoded)
            grown = larger and row.exchanged(number, larger)
            if grown:
                row = grown
            else:
                growing.remove(number)
    return row


def spare_indices(number: int, room: int) -> list[int]:
    """Where in the stream of spares the `room` ones of group `number` are, in the order in which its rows take them.

    In random order, because a mix of tasks repeats with a period: of its first few, which are often all that rows take,
    some tasks would always be.
    """
    return [number * room + int(i) for i in np.random.default_rng([number, room]).permutation(room)]
