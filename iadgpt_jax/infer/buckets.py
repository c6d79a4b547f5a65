"""Row shapes that repeat: sizes are rounded up to a coarse ladder, so that a compiled function serves many prompts."""

from __future__ import annotations

from collections.abc import Sequence

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.pack import RowShape
from iadgpt_jax.models.protocols import VisionTower

LEAST_SLOTS = 64


def bucket(size: int, least: int = 1) -> int:
    """The smallest of least · (1, 1.5, 2, 3, 4, 6, 8, …), rounded up, that holds `size`: at most a third is waste."""
    step = least
    while step < size:
        if size <= (between := -(-3 * step // 2)):
            return between
        step *= 2
    return step


def bucketed_row_shape(encodeds: Sequence[Encoded], vision: VisionTower, together: bool = False) -> RowShape:
    """A flat row that holds any one of the instances, or (together) all of them side by side."""
    pool = sum if together else max
    window = (vision.window_units * vision.merge) ** 2
    patches = max((len(image.patches) for e in encodeds for image in e.images), default=window)
    rows = max((len(block.keyword_rows) for e in encodeds for block in e.blocks), default=0)
    targets = pool(sum(len(block.targets) for block in e.blocks) for e in encodeds)
    return RowShape(
        slots=bucket(pool(e.slots for e in encodeds), LEAST_SLOTS),
        images=bucket(pool(len(e.images) for e in encodeds)),
        patches=window * bucket(-(-patches // window)),
        maps=bucket(pool(len(e.blocks) for e in encodeds)),
        keyword_rows=bucket(rows, 4),
        targets=bucket(targets),
        mask_side=1,
    )
