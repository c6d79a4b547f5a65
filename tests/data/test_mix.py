"""Weights of instances are found that give the shares of questions that a mixture asks for."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from iadgpt_jax.data.loader import Batches
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tasks.instance import Instance
from tests.small_iadgpt import BUDGET, detection, draw_image, small_encoder

SHAPE = RowShape(slots=448, images=14, patches=BUDGET, maps=12, keyword_rows=8, targets=96, mask_side=16)


class Asking:
    """Instances of one shared image and `count` questions, and up to `more` that a row may add."""

    def __init__(self, name: str, count: int, more: int = 0):
        self.name, self.count, self.more = name, count, more

    def __len__(self):
        return 30

    def instance(self, index, rng):
        blocks = tuple(detection(rng, 1) for _ in range(self.count))
        more = tuple(functools.partial(self._further, int(seed)) for seed in rng.integers(2**63, size=self.more))
        return Instance(self.name, blocks, (draw_image(rng),), more=more)

    def _further(self, seed):
        return detection(np.random.default_rng(seed), 1)


def batches(parts, group=2, **options) -> Batches:
    return Batches(parts, small_encoder(), SHAPE, rows=4, instances=8, seed=0, group=group, **options)


def shares(one: Batches, groups: int = 40) -> dict[str, float]:
    return {name: questions for name, (questions, _) in one.measure(groups).mix().items()}


def test_a_task_whose_instances_grow_keeps_its_share_of_questions():
    parts = [(Asking("grows", 1, more=9), 0.5), (Asking("stays", 1), 0.3), (Asking("three", 3), 0.2)]
    found = shares(batches(parts))
    for task, share in parts:
        assert found[task.name] == pytest.approx(share, abs=0.04)


def test_without_growing_weights_are_shares_by_questions_of_an_instance():
    """Of 6 : 3 questions from instances of 3 and of 1: 2 : 3 instances."""
    drawn = batches([(Asking("three", 3), 6.0), (Asking("one", 1), 3.0)], group=0).measure(20)
    assert drawn.dropped == 0
    assert drawn.tasks["three"].instances / drawn.tasks["one"].instances == pytest.approx(2 / 3, rel=0.02)


def test_every_process_and_every_restart_finds_the_same_weights():
    parts = [(Asking("grows", 1, more=9), 0.5), (Asking("stays", 1), 0.5)]
    one, other = batches(parts), batches(parts, process=1, processes=2)
    assert one.sample == other.sample and one.measure(2) == other.measure(2)


def test_an_instance_with_some_of_its_blocks_is_that_of_those_blocks():
    encoder = small_encoder()
    whole = Asking("three", 3).instance(0, np.random.default_rng(0))
    part = encoder(whole).with_blocks([0, 2])
    alone = encoder(Instance(whole.task, (whole.blocks[0], whole.blocks[2]), whole.shared))
    assert [block.segment for block in part.blocks] == [block.segment for block in alone.blocks]
    assert part.shared == alone.shared
    for got, expected in zip(part.images, alone.images, strict=True):
        np.testing.assert_array_equal(got.patches, expected.patches)
        assert (got.grid, got.keep, got.anchor) == (expected.grid, expected.keep, expected.anchor)
