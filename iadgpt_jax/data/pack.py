"""Encodeds -> rows of fixed shape. Whole instances share a row under segment ids; nothing crosses between them.

A flat row is a plain run of slots. A laned row keeps a prefix area for shared parts and lanes for query blocks, so
attention can skip what no slot of another lane may see (models/attention/); the numbers are the same either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from iadgpt_jax.data.encode import Encoded, EncodedBlock, EncodedImage, Segment
from iadgpt_jax.data.fill import Filler, Member, Row, first_fit, fits, place_and_fill
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tally import Tally, Taught
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import VisionTower
from iadgpt_jax.models.rows import Rows


@dataclass
class Packed:
    """Rows plus where each instance went: `where[i]` is (row, index of its first map query, slot starts of its blocks)
    or None for an instance that found no room. `encodeds[i]` is the instance as laid down: one that grew has more
    blocks than it came with, and spares follow the given ones."""

    rows: Rows
    where: list[tuple[int, list[int], list[int]] | None]
    encodeds: list[Encoded]
    tally: Tally


def pack(
    encodeds: Sequence[Encoded], count: int, shape: RowShape, vision: VisionTower, filler: Filler | None = None
) -> Packed:
    """Instances into `count` rows: first fit by falling size, or with a `filler` evenly and then filled up.

    Raises:
      InputError: an instance does not fit even an empty row, or a supervised image does not fill its slot; names the
        task and the sizes.
    """
    rows = place_and_fill(encodeds, count, shape, filler) if filler else first_fit(encodeds, count, shape)
    members = {member.number: member for row in rows for member in row.members}
    for number, encoded in enumerate(encodeds):
        if number not in members and not fits(encoded, shape):
            raise InputError(_too_large(encoded, shape))
    spares = max(members, default=-1) + 1 - len(encodeds)
    final = [members[i].encoded if i in members else encodeds[i] for i in range(len(encodeds) + max(spares, 0))]
    where: list = [None] * len(final)
    for encoded in final:
        _check_maps(encoded, shape, vision)
    arrays = _empty(count, shape, vision)
    for number, row in enumerate(rows):
        writer = RowWriter({name: array[number] for name, array in arrays.items()}, shape)
        for member in row.members:
            where[member.number] = (number, writer.write(member), member.block_at)
    return Packed(Rows(**arrays), where, final, tally_of_rows(rows, shape, dropped=where.count(None)))


def tally_of_rows(rows: Sequence[Row], shape: RowShape, dropped: int = 0) -> Tally:
    """What placed rows hold. dropped: instances that found no room in them."""
    placed = [member.encoded for row in rows for member in row.members]
    counts = Tally(
        slots=sum(encoded.slots for encoded in placed),
        slots_room=len(rows) * shape.slots,
        images=sum(row.images for row in rows),
        images_room=len(rows) * shape.images,
        maps=sum(row.maps for row in rows),
        pairs=sum(_pairs(encoded) for encoded in placed),
        dropped=dropped,
        cut=sum(encoded.cut for encoded in placed),
    )
    by_task: dict[str, Taught] = {}
    for one in placed:
        taught = Taught(1, len(one.blocks), sum(len(block.targets) for block in one.blocks), len(one.images))
        by_task[one.task] = by_task.get(one.task, Taught()).plus(taught)
    return dataclasses.replace(counts, tasks=by_task)


def _pairs(encoded: Encoded) -> int:
    """(query, key) pairs that attend: causal within the shared part and each block, which also sees what is shared."""

    def causal(length: int) -> int:
        return length * (length + 1) // 2

    blocks = ((len(block.segment), block.limit) for block in encoded.blocks)
    return causal(len(encoded.shared)) + sum(causal(length) + length * limit for length, limit in blocks)


def _too_large(encoded: Encoded, shape: RowShape) -> str:
    blocks = [len(block.segment) for block in encoded.blocks]
    return (
        f"an instance of task {encoded.task!r} does not fit an empty row: shared part of {len(encoded.shared)} slots, "
        f"blocks of {blocks}, {len(encoded.images)} images, {sum(len(b.targets) for b in encoded.blocks)} targets; "
        f"the row has {shape}: raise config.row"
    )


def _empty(count: int, shape: RowShape, vision: VisionTower) -> dict[str, np.ndarray]:
    def ints(*size: int) -> np.ndarray:
        return np.zeros((count, *size), np.int32)

    s, i, m, a = shape.slots, shape.images, shape.maps, shape.targets
    return {
        "tokens": ints(s), "segment": ints(s), "block": ints(s), "limit": ints(s), "positions": ints(3, s),
        "patches": np.zeros((count, i, shape.patches, vision.patch_values), np.uint8), "grid": ints(i, 2),
        "keep": ints(i), "anchor": ints(i), "image_slot": ints(s) - 1, "image_token": ints(s),
        "map_rows": ints(m, shape.keyword_rows),
        "map_weights": np.zeros((count, m, 2, shape.keyword_rows), np.float32),
        "map_start": ints(m), "map_valid": np.zeros((count, m), np.float32),
        "masks": np.zeros((count, m, shape.mask_side, shape.mask_side), np.uint8),
        "target_slots": ints(a), "target_ids": ints(a), "target_weights": np.zeros((count, a), np.float32),
        "target_words": ints(a), "answer_slots": ints(m),
    }  # fmt: skip


class RowWriter:
    """Lays instances into one row. arrays: a row's views of the arrays of `Rows`, all zero (image_slot -1).

    What an instance brings is appended: images, maps and targets are counted on from instance to instance.
    """

    def __init__(self, arrays: dict[str, np.ndarray], shape: RowShape):
        self.arrays, self.shape = arrays, shape
        self.segments = self.images = self.maps = self.targets = 0

    def write(self, member: Member) -> list[int]:
        """Lay one instance. Returns the map query of each of its blocks, -1 for a block without one."""
        encoded, shared_at = member.encoded, member.shared_at
        self.segments += 1
        first_image = self.images
        for picture in encoded.images:
            self._image(picture, first_image)
        self._segment(encoded.shared, shared_at, 0, shared_at + len(encoded.shared), first_image)
        maps = []
        for number, (block, start) in enumerate(zip(encoded.blocks, member.block_at, strict=True), start=1):
            self._segment(block.segment, start, number, shared_at + block.limit, first_image)
            self._answers(block, start)
            maps.append(self._map(block, start, encoded.task) if block.keyword_rows or block.scored else -1)
        return maps

    def _image(self, picture: EncodedImage, first_image: int) -> None:
        arrays, count = self.arrays, len(picture.patches)
        if count > self.shape.patches:
            raise InputError(
                f"an image of {picture.grid[0]}×{picture.grid[1]} merged tokens takes {count} patches, but a row's "
                f"image slot holds {self.shape.patches}: raise config.row.patches or shrink the image"
            )
        arrays["patches"][self.images, :count] = picture.patches
        arrays["grid"][self.images] = picture.grid
        arrays["keep"][self.images] = picture.keep
        arrays["anchor"][self.images] = first_image + picture.anchor
        self.images += 1

    def _segment(self, run: Segment, start: int, block: int, limit: int, first_image: int) -> None:
        arrays, span = self.arrays, slice(start, start + len(run))
        arrays["tokens"][span] = run.tokens
        arrays["segment"][span] = self.segments
        arrays["block"][span] = block
        arrays["limit"][span] = limit
        arrays["positions"][:, span] = np.array(run.positions, np.int32).reshape(-1, 3).T
        slots = np.array(run.image, np.int32)
        arrays["image_slot"][span] = np.where(slots >= 0, slots + first_image, -1)
        arrays["image_token"][span] = run.image_token

    def _answers(self, block: EncodedBlock, start: int) -> None:
        span = slice(self.targets, self.targets + len(block.targets))
        self.arrays["target_slots"][span] = [start + offset for offset, _ in block.targets]
        self.arrays["target_ids"][span] = [token for _, token in block.targets]
        self.arrays["target_words"][span] = block.target_words
        self.arrays["target_weights"][span] = np.array(self.shape.weights, np.float32)[block.target_words]
        self.targets += len(block.targets)

    def _map(self, block: EncodedBlock, start: int, task: str) -> int:
        arrays, query = self.arrays, self.maps
        if len(block.keyword_rows) > self.shape.keyword_rows:
            raise InputError(
                f"task {task!r}: its keywords take {len(block.keyword_rows)} tokens, a row holds "
                f"{self.shape.keyword_rows} per map: raise config.row.keyword_rows"
            )
        for index, (offset, abnormal, normal) in enumerate(block.keyword_rows):
            arrays["map_rows"][query, index] = start + offset
            arrays["map_weights"][query, :, index] = abnormal, normal
        arrays["map_start"][query] = start + block.map_start
        arrays["answer_slots"][query] = start + block.answer
        if block.mask is not None and block.keyword_rows:
            arrays["map_valid"][query] = 1.0
            arrays["masks"][query] = shrink_mask(block.mask, self.shape.mask_side)
        self.maps += 1
        return query


def _check_maps(encoded: Encoded, shape: RowShape, vision: VisionTower) -> None:
    """A supervised map is compared with its mask over the whole image slot: a square image must fill it."""
    cells = shape.patches // vision.merge**2
    for block in encoded.blocks:
        if block.mask is not None and block.keyword_rows:
            high, wide = encoded.images[max(block.segment.image)].grid
            if high != wide or high * wide != cells:
                raise InputError(
                    f"task {encoded.task!r}: the map of an image of {high}×{wide} merged tokens cannot be supervised "
                    f"in a slot of {cells}: make images square, and config.row.patches (image_side / {vision.patch})²"
                )


def shrink_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """uint8[H, W] in {0, 1} -> uint8[side, side]: defective where at least half of the covered area is, and wherever
    a defect too small for that has its fullest cell, so no defect vanishes."""
    if mask.shape == (side, side):
        return mask
    area = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return (area >= min(0.5, max(float(area.max()), 1e-6))).astype(np.uint8)
