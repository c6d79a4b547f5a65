"""Rows of fixed shape: everything of an instance lies where `Packed.where` says, nothing overlaps, nothing vanishes."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from iadgpt_jax.data.pack import RowShape, pack, shrink_mask
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.answer_loss import named
from iadgpt_jax.models.attention import Lanes
from tests.small_iadgpt import BUDGET, apart, detection, draw_image, inspection, small_encoder

ENCODER = small_encoder()
VISION = ENCODER.config.vision
FLAT = RowShape(slots=448, images=10, patches=BUDGET, maps=8, keyword_rows=8, targets=96, mask_side=16)
LANED = dataclasses.replace(FLAT, slots=128 + 2 * 72 + 3 * 96, lanes=Lanes(128, ((2, 72), (3, 96))))


@pytest.fixture(scope="module")
def encodeds():
    """Shared and unshared instances of several sizes, and one about words alone."""
    mixed = [inspection(0), inspection(1, ratio=0.4), *apart(inspection(2))]
    mixed.append(Instance("words", (Block((Turn("Is it?", "Yes."),)),)))
    return [ENCODER(instance) for instance in mixed]


@pytest.mark.parametrize("shape", [FLAT, LANED], ids=["flat", "laned"])
def test_every_slot_of_every_instance_is_in_its_row(encodeds, shape):
    packed = pack(encodeds, 4, shape, VISION)
    rows = packed.rows
    taken = np.zeros(rows.tokens.shape, int)
    for encoded, (row, maps, starts) in zip(encodeds, packed.where, strict=True):
        (segment,) = {int(rows.segment[row, start]) for start in starts}
        shared = np.flatnonzero((rows.segment[row] == segment) & (rows.block[row] == 0))
        assert rows.tokens[row, shared].tolist() == encoded.shared.tokens
        assert len(shared) == 0 or np.array_equal(shared, np.arange(shared[0], shared[0] + len(shared)))
        taken[row, shared] += 1
        for number, (block, start) in enumerate(zip(encoded.blocks, starts, strict=True), start=1):
            span = np.s_[row, start : start + len(block.segment)]
            assert rows.tokens[span].tolist() == block.segment.tokens
            assert (rows.segment[span] == segment).all() and (rows.block[span] == number).all()
            first = int(shared[0]) if len(shared) else int(rows.limit[row, start])
            assert (rows.limit[span] == first + block.limit).all()
            np.testing.assert_array_equal(rows.positions[row, :, span[1]].T, block.segment.positions)
            taken[span] += 1
            if maps[number - 1] >= 0:
                check_map_query(rows, row, maps[number - 1], block, start)
    np.testing.assert_array_equal(taken, rows.segment > 0)
    assert packed.tally.filled[0] == pytest.approx((rows.segment > 0).mean())


def check_map_query(rows, row, query, block, start):
    """Keyword slots, the query image's first slot, the slot before the answer, and the mask at the row's resolution."""
    used = rows.map_weights[row, query].sum(axis=0) > 0
    assert (rows.map_rows[row, query, used] - start).tolist() == [offset for offset, *_ in block.keyword_rows]
    np.testing.assert_allclose(rows.map_weights[row, query].sum(axis=1), 1, atol=1e-6)
    assert rows.image_slot[row, rows.map_start[row, query]] >= 0
    assert rows.image_slot[row, rows.map_start[row, query] - 1] < 0
    answer = rows.answer_slots[row, query]
    assert rows.tokens[row, answer + 1] == next(token for offset, token in block.targets if offset + start == answer)
    assert rows.map_valid[row, query] == (block.mask is not None)
    if block.mask is not None:
        np.testing.assert_array_equal(rows.masks[row, query], shrink_mask(block.mask, rows.masks.shape[-1]))


@pytest.mark.parametrize("shape", [FLAT, LANED], ids=["flat", "laned"])
def test_images_targets_and_lanes(encodeds, shape):
    packed = pack(encodeds, 4, shape, VISION)
    rows = packed.rows
    total = 0
    for encoded, (row, _, starts) in zip(encodeds, packed.where, strict=True):
        for block, start in zip(encoded.blocks, starts, strict=True):
            if shape.lanes:
                run = next(run for run in shape.lanes.runs()[1:] if run[0] <= start < run[1])
                assert start + len(block.segment) <= run[1], "a block must not leave its lane"
            targets = {
                (int(slot), int(token))
                for slot, token, weight in zip(
                    rows.target_slots[row], rows.target_ids[row], rows.target_weights[row], strict=True
                )
                if weight
            }
            assert {(start + offset, token) for offset, token in block.targets} <= targets
            total += len(block.targets)
            for number in {image for image in block.segment.image if image >= 0}:
                slot = int(rows.image_slot[row, start + block.segment.image.index(number)])
                image = encoded.images[number]
                np.testing.assert_array_equal(rows.patches[row, slot, : len(image.patches)], image.patches)
                assert tuple(rows.grid[row, slot]) == image.grid and rows.keep[row, slot] == image.keep
    assert rows.target_weights.sum() == total
    used = rows.grid[..., 0] > 0
    assert used.sum() == sum(len(encoded.images) for encoded in encodeds)
    assert packed.tally.filled[1] == pytest.approx(used.mean())


def test_a_compressed_image_is_anchored_at_its_own_instances_first_reference(encodeds):
    """Not at the row's first image: two compressed instances share a row here."""
    pair = [ENCODER(inspection(seed, shots=(1,), ratio=0.4, words=False)) for seed in range(2)]
    packed = pack(pair, 1, FLAT, VISION)
    anchors = packed.rows.anchor[0][packed.rows.grid[0, :, 0] > 0].tolist()
    assert anchors == [0, 0, 2, 3, 3, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(slots=100), "does not fit an empty row.*raise config.row"),
        (dict(images=3), "does not fit an empty row"),
        (dict(targets=4), "does not fit an empty row"),
        (dict(maps=1), "does not fit an empty row"),
        (dict(patches=32), "takes 64 patches|cannot be supervised"),
        (dict(keyword_rows=2), "raise config.row.keyword_rows"),
        (dict(slots=128 + 3 * 48, lanes=Lanes(128, ((3, 48),))), "does not fit an empty row"),
        (dict(slots=40 + 3 * 96, lanes=Lanes(40, ((3, 96),))), "does not fit an empty row"),
    ],
)
def test_an_instance_that_cannot_fit_is_an_input_error_that_names_the_remedy(change, message):
    with pytest.raises(InputError, match=message):
        pack([ENCODER(inspection(0))], 1, dataclasses.replace(FLAT, **change), VISION)


def test_an_unsupervised_image_beyond_the_budget_is_an_input_error():
    rng = np.random.default_rng(0)
    encoded = ENCODER(Instance("large", (Block((Turn("Is it?", "Yes."),), (draw_image(rng, 6, 6),)),)))
    with pytest.raises(InputError, match="6×6 merged tokens takes 144 patches.*config.row.patches"):
        pack([encoded], 1, FLAT, VISION)


def test_a_supervised_map_must_fill_its_slot():
    """A mask is compared with the whole slot's map, so a smaller or oblong image would be taught the wrong places."""
    rng = np.random.default_rng(0)
    for high, wide in ((2, 2), (4, 3)):
        encoded = ENCODER(Instance("small", (detection(rng, 0, high, wide),)))
        with pytest.raises(InputError, match=f"map of an image of {high}×{wide}.*slot of 16"):
            pack([encoded], 1, FLAT, VISION)


def test_words_that_name_something_may_weigh_more_than_others():
    marks = (("kind", "scratch"), ("place", "top."))
    block = Block((Turn("Is it?", "There is a scratch at the top.", marks),), (draw_image(np.random.default_rng(0)),))
    encoded = ENCODER(Instance("words", (block,)))
    rows = pack([encoded], 1, dataclasses.replace(FLAT, verdict_weight=4.0, words_weight=2.0), VISION).rows
    words = encoded.blocks[0].target_words
    assert rows.target_words[0, : len(words)].tolist() == words and {0, named("kind"), named("place")} == set(words)
    assert rows.target_weights[0, : len(words)].tolist() == [2.0 if word else 1.0 for word in words]
    assert not rows.target_words[0, len(words) :].any()


def test_a_verdict_may_weigh_more_than_words():
    """Only the first answer token of a scored block does."""
    encoded = ENCODER(inspection(0))
    rows = pack([encoded], 1, dataclasses.replace(FLAT, verdict_weight=4.0), VISION).rows
    expected = [4.0 if block.scored and n == 0 else 1.0 for block in encoded.blocks for n in range(len(block.targets))]
    assert rows.target_weights[0, : len(expected)].tolist() == expected
    assert expected.count(4.0) == 2 and not rows.target_weights[0, len(expected) :].any()


def test_row_shapes_whose_lanes_do_not_add_up_are_refused():
    with pytest.raises(InputError, match="lanes"):
        dataclasses.replace(FLAT, lanes=Lanes(128, ((2, 72),)))


def test_instances_without_room_are_reported_not_lost():
    """Six inspections into one row: those placed and those not are told apart."""
    many = [ENCODER(inspection(seed)) for seed in range(6)]
    packed = pack(many, 1, FLAT, VISION)
    placed = [where for where in packed.where if where is not None]
    assert 0 < len(placed) < 6
    assert len(np.unique(packed.rows.segment)) - 1 == len(placed)


def test_the_same_instance_twice_is_two_instances():
    encoded = ENCODER(inspection(0, shots=(1,), words=False))
    packed = pack([encoded, encoded], 1, FLAT, VISION)
    assert None not in packed.where and packed.where[0][2] != packed.where[1][2]


@pytest.mark.parametrize("side", [4, 7, 16])
def test_shrunken_masks_keep_majorities_and_lose_no_defect(side):
    rng = np.random.default_rng(side)
    for _ in range(50):
        mask = np.zeros((56, 56), np.uint8)
        size = int(rng.integers(1, 30))
        y, x = rng.integers(0, 56 - size, 2)
        mask[y : y + size, x : x + size] = 1
        small = shrink_mask(mask, side)
        share = cv2.resize(mask.astype(np.float64), (side, side), interpolation=cv2.INTER_AREA)
        assert small.dtype == np.uint8 and small.any()
        assert (small[share > 0.5] == 1).all() and (small[share == 0] == 0).all()
    assert not shrink_mask(np.zeros((56, 56), np.uint8), side).any()
    full = np.ones((side, side), np.uint8)
    assert shrink_mask(full, side) is full
