"""Instances that top rows up are of every task by its weight, however few of them a row takes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from iadgpt_jax.data.loader import Batches
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from tests.small_iadgpt import BUDGET, small_encoder


class Coloured:
    """A task whose instances are one image of its own grey."""

    def __init__(self, grey: int):
        self.grey = grey

    def __len__(self):
        return 50

    def instance(self, index, rng):
        image = np.full((28, 28, 3), self.grey, np.uint8)
        return Instance("coloured", (Block((Turn("Where?", "Nowhere."),), (image,)),))


def tasks_of(rows) -> list[int]:
    used = rows.grid[..., 0] > 0
    return (rows.patches[used][:, 0, 0] // 50).tolist()


def test_rows_are_topped_up_by_weight():
    """Two rows of three images each, four of the six drawn: two are spares. Of 600 three deviations are .06."""
    weights = (0.5, 0.25, 0.25)
    shape = RowShape(slots=96, images=3, patches=BUDGET, maps=1, keyword_rows=8, targets=96, mask_side=16)
    parts = [(Coloured(50 * number), weight) for number, weight in enumerate(weights)]
    batches = Batches(parts, small_encoder(), shape, rows=2, instances=4, seed=0, group=2)
    shown = Counter(task for step in range(100) for task in tasks_of(batches[step].rows))
    assert sum(shown.values()) == 600
    for number, weight in enumerate(weights):
        assert shown[number] / 600 == pytest.approx(weight, abs=0.06)
