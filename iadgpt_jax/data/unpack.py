"""A packed row read back: what its instances show, say and are taught, from nothing but the arrays that are trained on.

For people who want to see the data: no model needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from iadgpt_jax.data.patches import from_patches
from iadgpt_jax.models.protocols import VisionTower
from iadgpt_jax.models.rows import Rows


@dataclass(frozen=True)
class Run:
    """Neighbouring slots of one kind. image: the image slot whose `len(tokens)` tokens stand here, None of text.
    taught: an answer's tokens, each of which the slot before it learns to predict. laid: False for a last one, which
    is predicted but takes no slot."""

    tokens: tuple[int, ...]
    image: int | None = None
    taught: bool = False
    laid: bool = True


@dataclass(frozen=True)
class Part:
    """The shared part of an instance, or one of its blocks. start: its first slot. slots: how many it has."""

    start: int
    slots: int
    runs: list[Run]


@dataclass(frozen=True)
class Held:
    """An instance in a row: `parts[0]` is the shared one, where there is one (start -1 otherwise), then its blocks."""

    segment: int
    parts: list[Part] = field(default_factory=list)


def held_in(rows: Rows, row: int) -> list[Held]:
    """The instances of a row, in the order in which they were laid."""
    segment, block = np.asarray(rows.segment[row]), np.asarray(rows.block[row])
    taught = {}
    for slot, token, weight in zip(rows.target_slots[row], rows.target_ids[row], rows.target_weights[row], strict=True):
        if weight:
            taught[int(slot)] = int(token)
    found = []
    for number in range(1, int(segment.max(initial=0)) + 1):
        parts = []
        for one in range(int(block[segment == number].max(initial=0)) + 1):
            slots = np.flatnonzero((segment == number) & (block == one))
            runs = _runs(rows, row, slots.tolist(), taught)
            parts.append(Part(int(slots[0]) if len(slots) else -1, len(slots), runs))
        found.append(Held(number, parts))
    return found


def _runs(rows: Rows, row: int, slots: list[int], taught: dict[int, int]) -> list[Run]:
    """Slots of one part, in order, as runs."""
    pieces: list[tuple[tuple[int | None, bool, bool], int]] = []
    for slot in slots:
        token, image = int(rows.tokens[row, slot]), int(rows.image_slot[row, slot])
        predicted = slot - 1 in slots and taught.get(slot - 1) == token
        pieces.append(((image if image >= 0 else None, predicted, True), token))
        follows = slot + 1 in slots and int(rows.tokens[row, slot + 1]) == taught.get(slot)
        if slot in taught and not follows:
            pieces.append(((None, True, False), taught[slot]))
    runs: list[Run] = []
    last = None
    for kind, token in pieces:
        if kind == last:
            runs[-1] = Run((*runs[-1].tokens, token), *kind)
        else:
            runs.append(Run((token,), *kind))
        last = kind
    return runs


def image_in(rows: Rows, row: int, slot: int, vision: VisionTower) -> np.ndarray:
    """The image in an image slot, uint8[H, W, 3]."""
    high, wide = (int(side) for side in rows.grid[row, slot])
    return from_patches(np.asarray(rows.patches[row, slot]), (high, wide), vision)


def masks_in(rows: Rows, row: int) -> dict[int, np.ndarray]:
    """Image slot -> the mask uint8[h, w] that supervises its map."""
    return {
        int(rows.image_slot[row, start]): np.asarray(rows.masks[row, number])
        for number, start in enumerate(rows.map_start[row])
        if rows.map_valid[row, number]
    }
