"""How much of a row splash attention works on: the share of its tiles in which any query attends to any key."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.flops import Shape
from iadgpt_jax.models.attention import Kernels
from iadgpt_jax.models.attention.splash import tiling


def visited(shape: Shape, block: int = Kernels.block) -> dict[int, float]:
    """{slots with padding: share of tiles} of a full row, as ahead/work.py reads it: one instance that fills a flat
    row, or every lane of a laned one."""
    side, padded = tiling(shape.slots, block)
    first, last = np.arange(padded // side) * side, (np.arange(padded // side) + 1) * side - 1
    if shape.lanes is None:
        seen = first[None, :] <= last[:, None]
    else:
        runs = shape.lanes.runs()
        seen = np.zeros((len(first), len(first)), bool)
        for start, end in runs:
            rows = (first < end) & (last >= start)
            own = rows[:, None] & rows[None, :] & (first[None, :] <= np.minimum(last, end - 1)[:, None])
            prefix = rows[:, None] & (first[None, :] < runs[0][1]) & (first[None, :] <= last[:, None])
            seen |= own | prefix
    return {padded: float(seen.mean())}
