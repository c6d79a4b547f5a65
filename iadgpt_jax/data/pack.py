"""Encodeds -> rows of fixed shape. Whole instances share a row under segment ids; nothing crosses between them.

A flat row is a plain run of slots. A laned row keeps a prefix area for shared parts and lanes for query blocks, so
attention can skip what no slot of another lane may see (models/attention/); the numbers are the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.fill import Filler, Row, place, place_and_fill
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tally import Tally
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
    rows = place_and_fill(encodeds, count, shape, filler) if filler else place(encodeds, count, shape)
    members = {member.number: member for row in rows for member in row.members}
    for number, encoded in enumerate(encodeds):
        if number not in members and not Row(shape).take(number, encoded):
            raise InputError(_too_large(encoded, shape))
    spares = sum(number >= len(encodeds) for number in members)
    final = [members[i].encoded if i in members else encodeds[i] for i in range(len(encodeds) + spares)]
    where: list = [None] * len(final)
    for encoded in final:
        _check_maps(encoded, shape, vision)
    arrays = _empty(count, shape, vision)
    for number, row in enumerate(rows):
        image = maps = target = 0
        for segment, (index, encoded, shared_at, block_at) in enumerate(row.members, start=1):
            maps_of = _write(arrays, number, segment, encoded, shared_at, block_at, image, maps, target, shape)
            where[index] = (number, maps_of, block_at)
            image += len(encoded.images)
            maps += len([m for m in maps_of if m >= 0])
            target += sum(len(block.targets) for block in encoded.blocks)
    return Packed(Rows(**arrays), where, final, _tally(rows, shape, dropped=where.count(None)))


def _tally(rows: Sequence[Row], shape: RowShape, dropped: int) -> Tally:
    placed = [member.encoded for row in rows for member in row.members]
    return Tally(
        slots=sum(encoded.slots for encoded in placed),
        slots_room=len(rows) * shape.slots,
        images=sum(row.images for row in rows),
        images_room=len(rows) * shape.images,
        queries=sum(len(encoded.blocks) for encoded in placed),
        targets=sum(row.targets for row in rows),
        maps=sum(row.maps for row in rows),
        pairs=sum(_pairs(encoded) for encoded in placed),
        instances=len(placed),
        dropped=dropped,
    )


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
        "answer_slots": ints(m),
    }  # fmt: skip


def _write(arrays, row, segment, encoded, shared_at, block_at, image, maps, target, shape) -> list[int]:
    """Lay one instance into its row. Returns the map query of each block, -1 for a block without one."""
    for number, picture in enumerate(encoded.images):
        budget = arrays["patches"].shape[2]
        if len(picture.patches) > budget:
            raise InputError(
                f"an image of {picture.grid[0]}×{picture.grid[1]} merged tokens takes {len(picture.patches)} patches, "
                f"but a row's image slot holds {budget}: raise config.row.patches or shrink the image"
            )
        slot = image + number
        arrays["patches"][row, slot, : len(picture.patches)] = picture.patches
        arrays["grid"][row, slot] = picture.grid
        arrays["keep"][row, slot] = picture.keep
        arrays["anchor"][row, slot] = image + picture.anchor

    def lay(run, start, block, limit):
        span = slice(start, start + len(run))
        arrays["tokens"][row, span] = run.tokens
        arrays["segment"][row, span] = segment
        arrays["block"][row, span] = block
        arrays["limit"][row, span] = limit
        arrays["positions"][row, :, span] = np.array(run.positions, np.int32).reshape(-1, 3).T
        slots = np.array(run.image, np.int32)
        arrays["image_slot"][row, span] = np.where(slots >= 0, slots + image, -1)
        arrays["image_token"][row, span] = run.image_token

    lay(encoded.shared, shared_at, 0, shared_at + len(encoded.shared))
    maps_of = []
    for number, (block, start) in enumerate(zip(encoded.blocks, block_at, strict=True), start=1):
        lay(block.segment, start, number, shared_at + block.limit)
        for number_of, (offset, token) in enumerate(block.targets):
            arrays["target_slots"][row, target] = start + offset
            arrays["target_ids"][row, target] = token
            arrays["target_weights"][row, target] = shape.verdict_weight if block.scored and not number_of else 1.0
            target += 1
        if not (block.keyword_rows or block.scored):
            maps_of.append(-1)
            continue
        if len(block.keyword_rows) > shape.keyword_rows:
            raise InputError(
                f"task {encoded.task!r}: its keywords take {len(block.keyword_rows)} tokens, a row holds "
                f"{shape.keyword_rows} per map: raise config.row.keyword_rows"
            )
        for index, (offset, abnormal, normal) in enumerate(block.keyword_rows):
            arrays["map_rows"][row, maps, index] = start + offset
            arrays["map_weights"][row, maps, :, index] = abnormal, normal
        arrays["map_start"][row, maps] = start + block.map_start
        arrays["answer_slots"][row, maps] = start + block.answer
        if block.mask is not None and block.keyword_rows:
            arrays["map_valid"][row, maps] = 1.0
            arrays["masks"][row, maps] = shrink_mask(block.mask, shape.mask_side)
        maps_of.append(maps)
        maps += 1
    return maps_of


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
