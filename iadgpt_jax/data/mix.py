"""Shares of questions -> weights at which instances are drawn.

A mixture says what part of all questions a task has. Instances bring one question or many, and rows grow them by what
room there is, so how often to draw a task's instances is found by placing some groups of rows, counting, and
correcting, a few times over. Everything is a pure function of the mixture, the data and the seed: every process and
every restart finds the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import grain
import numpy as np

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.fill import Filler, Row, place_and_fill, spare_indices
from iadgpt_jax.data.pack import tally_of_rows
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tally import Tally

ROUNDS = 6
GROUPS = 48  # placed to count; more where a task was drawn less often than LEAST times, but no more than MOST
LEAST, MOST = 6, 240
DROPPED = 0.005  # of what is drawn, at most; otherwise fewer instances are drawn for a group

# (part, position) -> the instance at a position of a part's stream, as it enters a row; `spare`: of the spare streams.
Draw = Callable[[int, int, bool], Encoded]


@dataclass(frozen=True)
class Drawn:
    """weights: of the parts, at which instances are drawn. instances: for each group of rows. sample: what the groups
    hold that were placed to find them."""

    weights: tuple[float, ...]
    instances: int
    sample: Tally


def order(weights: Sequence[float]) -> grain.MapDataset:
    """Index of all draws -> (part, position in the part's stream)."""
    parts = [grain.MapDataset.range(2**40).map(_Numbered(part)) for part in range(len(weights))]
    return grain.MapDataset.mix(parts, weights=list(weights))


@dataclass(frozen=True)
class _Numbered:
    part: int

    def __call__(self, position: int) -> tuple[int, int]:
        return self.part, int(position)


def weights_of_ungrown(shares: Sequence[float], draw: Draw) -> tuple[float, ...]:
    """For instances that stay as they are drawn: shares by the mean number of questions of a few of them."""
    counts = [np.mean([len(draw(part, i, False).blocks) for i in range(LEAST)]) for part in range(len(shares))]
    return _normalised(np.asarray(shares) / counts)


def weights_of_grown(
    shares: Sequence[float], draw: Draw, grow: Callable[[Encoded], Encoded | None], shape: RowShape, group: int,
    instances: int, spares: int,
) -> Drawn:  # fmt: skip
    """For groups of `group` rows that are filled up: at most `instances` drawn for each, up to `spares` beyond them."""
    shares = np.asarray(shares) / np.sum(shares)
    sample = _Sample(draw, grow, shape, group, spares)
    weights = np.asarray(weights_of_ungrown(shares, sample.draw))
    first = shares / weights  # questions of an instance that has not grown, relative to one another
    for _ in range(ROUNDS if len(shares) > 1 else 1):
        drawn, questions, tally = sample.placed(weights, instances)
        while tally.dropped > DROPPED * drawn.sum() and instances > 1:
            instances -= 1
            drawn, questions, tally = sample.placed(weights, instances)
        # What was not drawn at all, one of many parts, is taken to grow as the others do.
        each = np.where(
            drawn, np.maximum(questions, 1) / np.maximum(drawn, 1), first * questions.sum() / (drawn * first).sum()
        )
        # Half of the way, for what one task's instances grow by depends on what else lies in their rows.
        weights = np.asarray(_normalised(np.sqrt(weights * _normalised(shares / each))))
    return Drawn(tuple(weights.tolist()), instances, tally)


def _normalised(weights) -> tuple[float, ...]:
    """Summing to 1, to six digits: so that rounding elsewhere cannot change what is drawn."""
    return tuple(float(f"{weight:.6g}") for weight in np.asarray(weights) / np.sum(weights))


class _Sample:
    """The first groups of a run, placed under one weighting after another; each instance is made once."""

    def __init__(self, draw: Draw, grow, shape: RowShape, group: int, spares: int):
        self._draw, self._grow = draw, grow
        self.shape, self.group, self.spares = shape, group, spares
        self.drawn: dict[tuple[int, int, bool], Encoded] = {}
        self.grown: dict[tuple[int, int, bool, int], Encoded | None] = {}

    def draw(self, part: int, position: int, spare: bool) -> Encoded:
        key = part, position, spare
        if key not in self.drawn:
            self.drawn[key] = _without_pixels(self._draw(*key), key)
        return self.drawn[key]

    def grow(self, encoded: Encoded) -> Encoded | None:
        """As the encoder does; once for every instance and number of blocks."""
        key = *encoded.notes, len(encoded.blocks)
        if key not in self.grown:
            larger = self._grow(encoded)
            self.grown[key] = larger and _without_pixels(larger, encoded.notes)
        return self.grown[key]

    def placed(self, weights: np.ndarray, instances: int) -> tuple[np.ndarray, np.ndarray, Tally]:
        """(instances drawn int[parts], questions int[parts], what rows hold) of enough groups."""
        draws = order(weights)
        drawn, questions = np.zeros(len(weights), int), np.zeros(len(weights), int)
        tally = Tally()
        for number in range(MOST):
            if number >= GROUPS and drawn.min() >= LEAST:
                break
            keys = [draws[number * instances + i] for i in range(instances)]
            np.add.at(drawn, [part for part, _ in keys], 1)
            rows = self._group(number, draws, [self.draw(*key, False) for key in keys])
            members = [member for row in rows for member in row.members]
            dropped = instances - sum(member.number < instances for member in members)
            tally += tally_of_rows(rows, self.shape, dropped)
            np.add.at(
                questions, [member.encoded.notes[0] for member in members], [len(m.encoded.blocks) for m in members]
            )
        return drawn, questions, tally

    def _group(self, number: int, draws: grain.MapDataset, encodeds: list[Encoded]) -> list[Row]:
        spares = (self.draw(*draws[index], True) for index in spare_indices(number, self.spares))
        return place_and_fill(encodeds, self.group, self.shape, Filler(self.grow, spares))


def _without_pixels(encoded: Encoded, key) -> Encoded:
    """What placing looks at, and where it came from: patches are most of an instance's memory."""
    images = [replace(image, patches=image.patches[:0].copy()) for image in encoded.images]
    return replace(encoded, images=images, notes=key)
