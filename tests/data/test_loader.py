"""Batches are pure functions of (seed, step), whoever asks, from wherever, in whatever process."""

from __future__ import annotations

from collections import Counter

import jax
import numpy as np
import pytest
from absl import flags

from iadgpt_jax.data.loader import Batches, put
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.sharding import ShardingRules, make_mesh, rows_sharding
from tests.small_iadgpt import BUDGET, draw_image, small_encoder

SHAPE = RowShape(slots=192, images=6, patches=BUDGET, maps=1, keyword_rows=8, targets=96, mask_side=16)


class Tagged:
    """A task whose instances carry their index as a grey image, and random words drawn from the generator."""

    def __init__(self, length: int, offset: int = 0):
        self.length, self.offset = length, offset
        self.asked: list[int] = []

    def __len__(self):
        return self.length

    def instance(self, index, rng):
        self.asked.append(index)
        image = draw_image(rng, 1, 1)
        image[:] = self.offset + index
        answer = " ".join(rng.choice(["Yes.", "No.", "Nothing.", "Nowhere."], 2))
        return Instance("tagged", (Block((Turn("Where?", answer),), (image,)),))


def batches(seed=0, parts=None, rows=4, instances=8, **options):
    return Batches(
        parts or [(Tagged(20), 1.0)], small_encoder(), SHAPE, rows=rows, instances=instances, seed=seed, **options
    )


def tags(rows) -> list[int]:
    """The indices of the instances in some rows."""
    used = rows.grid[..., 0] > 0
    return sorted(rows.patches[used][:, 0, 0].tolist())


def contents(rows) -> Counter:
    """The instances in some rows as a multiset of (index, its tokens)."""
    found = []
    for row in range(len(rows.tokens)):
        for segment in range(1, rows.segment[row].max() + 1):
            here = rows.segment[row] == segment
            image = rows.image_slot[row][here].max()
            found.append((int(rows.patches[row, image, 0, 0]), tuple(rows.tokens[row][here].tolist())))
    return Counter(found)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_batch_is_a_function_of_seed_and_step():
    first, second = batches(), batches()
    for step in (5, 0, 3, 5):
        assert_same(first[step].rows, second[step].rows)
        assert first[step].tally == second[step].tally
    assert contents(batches(seed=1)[0].rows) != contents(first[0].rows)
    assert contents(first[1].rows) != contents(first[0].rows)


@pytest.mark.parametrize("threads", [1, 3])
def test_iterating_from_step_n_is_the_rest_of_iterating_from_0(threads):
    whole = list(batches().iterate(0, 7, threads=threads))
    assert len(whole) == 7
    for step, batch in enumerate(whole):
        assert_same(batch.rows, batches()[step].rows)
    for got, expected in zip(batches().iterate(4, 7, ahead=1, threads=threads), whole[4:], strict=True):
        assert_same(got.rows, expected.rows)
    assert list(batches().iterate(7, 7)) == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_worker_processes_make_the_same_batches(processes):
    """From a step in the middle, too; each worker imports what it needs, which takes seconds."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # as a command does; the workers are told what it was told
    made = list(batches().iterate(2, 5, ahead=1, processes=processes))
    assert len(made) == 3
    for step, batch in enumerate(made, 2):
        assert_same(batch.rows, batches()[step].rows)
        assert batch.tally == batches()[step].tally


def test_two_processes_share_the_instances_of_one():
    alone = batches()
    shares = [batches(process=process, processes=2) for process in range(2)]
    for step in range(6):
        parts = [share[step].rows for share in shares]
        assert all(len(part.tokens) == 2 for part in parts)
        assert contents(parts[0]) + contents(parts[1]) == contents(alone[step].rows)


def test_shares_must_divide():
    with pytest.raises(ValueError, match="do not divide by 3 processes"):
        batches(processes=3)


def test_every_epoch_covers_every_index_once_in_its_own_order():
    """20 instances in steps of 4: five steps are an epoch."""
    stream = [tags(batch.rows) for batch in batches(rows=2, instances=4).iterate(0, 15)]
    epochs = [stream[start : start + 5] for start in (0, 5, 10)]
    for epoch in epochs:
        assert sorted(tag for step in epoch for tag in step) == list(range(20))
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_instance_visited_again_is_drawn_anew():
    """The same index in two epochs gets different random numbers, in the same epoch of another run the same."""
    words = {}
    for step in range(15):
        for (tag, tokens), _ in contents(batches(rows=2, instances=4)[step].rows).items():
            words.setdefault(tag, []).append(tokens)
    assert all(len(visits) == 3 for visits in words.values())
    assert sum(len(set(visits)) > 1 for visits in words.values()) > 10


def test_mixture_weights_are_shares_of_instances():
    parts = [(Tagged(50), 0.5), (Tagged(30, offset=100), 0.3), (Tagged(7, offset=200), 0.2)]
    drawn = Counter(tag // 100 for step in range(25) for tag in tags(batches(parts=parts)[step].rows))
    for part, share in enumerate((0.5, 0.3, 0.2)):
        assert drawn[part] / 200 == pytest.approx(share, abs=0.01)


def test_what_found_no_room_is_counted():
    tally = batches(rows=1, instances=8)[0].tally
    assert (tally.instances, tally.dropped) == (6, 2)  # six image slots for eight instances
    assert tally.dropped_share == 0.25


def test_rows_are_put_where_the_mesh_splits_them():
    mesh = make_mesh(2, 2, 2)
    rows = batches()[0].rows
    placed = put(rows, rows_sharding(mesh, ShardingRules()))
    assert_same(jax.tree.map(np.asarray, placed), rows)
    assert {shard.data.shape[0] for shard in placed.tokens.addressable_shards} == {1}
