"""Rows are filled up, in every process alike, and what they hold is counted."""

from __future__ import annotations

import functools
import operator
from collections import Counter

import jax
import numpy as np
import pytest

from iadgpt_jax.data.loader import Batches
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.errors import InputError
from tests.small_iadgpt import BUDGET, detection, draw_image, small_encoder

SHAPE = RowShape(slots=448, images=14, patches=BUDGET, maps=12, keyword_rows=8, targets=96, mask_side=16)


class Growing:
    """Instances of one shared image and one detection, marked by their index, that may take nine more."""

    def __len__(self):
        return 20

    def instance(self, index, rng):
        shared = draw_image(rng)
        shared[:] = index
        more = tuple(functools.partial(self._block, int(seed)) for seed in rng.integers(2**63, size=9))
        return Instance("growing", (detection(rng, 1),), (shared,), more=more)

    def _block(self, seed):
        return detection(np.random.default_rng(seed), 1)


def growing(rows=8, instances=12, group=2, **options) -> Batches:
    parts = [(Growing(), 1.0)]
    return Batches(parts, small_encoder(), SHAPE, rows=rows, instances=instances, seed=0, group=group, **options)


def total(batches, steps):
    return functools.reduce(operator.add, (batches[step].tally for step in range(steps)))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_filling_leaves_little_room_and_keeps_every_instance():
    """A row takes an instance or two with more queries than they came with, and is left half empty without. Every
    instance is there at least once an epoch: spares come on top."""
    plain, filled = total(growing(group=0), 5), total(growing(), 5)
    assert plain.dropped == filled.dropped == 0
    assert plain.instances == 60 <= filled.instances
    assert filled.queries > 2 * plain.queries
    assert filled.filled[0] > 0.85 > plain.filled[0]
    seen = Counter(tag for batch in growing().iterate(0, 5) for tag in _tags(batch.rows))
    assert min(seen[tag] for tag in range(20)) >= 3


def _tags(rows) -> list[int]:
    """The index of each instance: the grey of its first image."""
    tags = []
    for row in range(len(rows.tokens)):
        for segment in range(1, rows.segment[row].max() + 1):
            first = rows.image_slot[row][(rows.segment[row] == segment) & (rows.image_slot[row] >= 0)].min()
            tags.append(int(rows.patches[row, first, 0, 0]))
    return tags


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_any_number_of_processes_makes_the_same_rows(processes):
    whole = growing()
    shares = [growing(process=process, processes=processes) for process in range(processes)]
    for step in (0, 3):
        parts = [share[step] for share in shares]
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *(part.rows for part in parts))
        assert_same(joined, whole[step].rows)
        assert functools.reduce(operator.add, (part.tally for part in parts)) == whole[step].tally


def test_filled_batches_go_on_from_a_number():
    whole = list(growing().iterate(0, 4))
    for got, expected in zip(growing().iterate(2, 4, threads=2), whole[2:], strict=True):
        assert_same(got.rows, expected.rows)


def test_groups_must_divide():
    with pytest.raises(InputError, match="groups of 3 rows for 1 processes: set config.rows"):
        growing(group=3)
    with pytest.raises(InputError, match="groups of 4 rows for 4 processes"):
        growing(group=4, processes=4)


def test_counts_are_those_of_the_rows():
    """Tally against the arrays: which slots attend to which as docs/design.md says it, pair by pair."""
    batch = growing(rows=2)[0]
    rows, tally = batch.rows, batch.tally
    assert tally.slots == (rows.segment > 0).sum() and tally.slots_room == rows.segment.size
    assert tally.images == (rows.grid[..., 0] > 0).sum() and tally.images_room == rows.grid[..., 0].size
    assert tally.targets == (rows.target_weights > 0).sum()
    assert tally.maps == (rows.map_weights.sum(axis=(2, 3)) > 0).sum() == tally.queries
    pairs = 0
    for segment, block, limit in zip(rows.segment, rows.block, rows.limit, strict=True):
        for query in np.flatnonzero(segment):
            before = np.arange(query + 1)
            own = block[before] == block[query]
            shared = (block[before] == 0) & (before < limit[query])
            pairs += ((segment[before] == segment[query]) & (own | shared)).sum()
    assert tally.pairs == pairs
