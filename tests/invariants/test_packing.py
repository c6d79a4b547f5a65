"""An instance sees only itself: packing, lanes and shared references change nothing but the cost.

Tolerance: hidden states pass 4 decoder layers (16 for images) of float32 sums over ≤ 300 terms of values around 1. Each
sum rounds by about √300 · 6e-8 ≈ 1e-6, and twenty layers of independent roundings give √20 · 1e-6 ≈ 5e-6. Masked slots
contribute exact zeros, so only the order of summation differs. A leak of one token out of 100 would show as about 1e-2.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from iadgpt_jax.data.fill import Filler
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from tests.small_iadgpt import (
    BUDGET,
    QUICK,
    apart,
    detection,
    draw_image,
    inspection,
    lively_params,
    small_encoder,
)

TOLERANCE = 2e-5  # see above, with room for unlucky cancellation
ENCODER = small_encoder()
CONFIG = ENCODER.config
PARAMS = lively_params(CONFIG)
MODEL = IADGPT(CONFIG)
# Seeds of instances. Not 0 and 1: the smallest entries of one of their maps differ by less than rounding, and which of
# them min–max takes for the smallest decides where its gradient goes.
SEEDS = (3, 4, 5)
ROWS = 3  # of every forward pass: empty ones are added, so that one program serves each shape
FLAT = RowShape(slots=448, images=10, patches=BUDGET, maps=8, keyword_rows=8, targets=96, mask_side=16)
ONE = dataclasses.replace(FLAT, slots=192, images=4, maps=2, targets=32)  # a row for one prompt alone
LANED = dataclasses.replace(FLAT, slots=128 + 2 * 72 + 3 * 96, lanes=Lanes(128, ((2, 72), (3, 96))))

_forward = jax.jit(
    lambda params, rows, lanes: MODEL.apply({"params": params}, rows, lanes), static_argnums=2, compiler_options=QUICK
)
_gradients = {}


def forward(encodeds, count, shape):
    packed = pack(encodeds, count, shape, CONFIG.vision)
    assert None not in packed.where, "the test wants every instance placed"
    return says(packed, shape)


def says(packed, shape):
    """(what each block of each instance says, in order): dicts of hidden states, maps; from one packed batch."""
    empty = pack([], ROWS - len(packed.rows.tokens), shape, CONFIG.vision).rows
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), packed.rows, empty)
    outputs = jax.tree.map(np.asarray, _forward(PARAMS, rows, shape.lanes))
    said = []
    for encoded, (row, maps, starts) in zip(packed.encodeds, packed.where, strict=True):
        for block, map_query, start in zip(encoded.blocks, maps, starts, strict=True):
            kept = {"hidden": outputs.hidden[row, start : start + len(block.segment)]}
            if map_query >= 0:
                kept["logit"] = outputs.logit_maps[row, map_query]
                kept["probability"] = outputs.probability_maps[row, map_query]
            said.append(kept)
    return said


def gradients(encodeds, count, shape, space):
    """(loss, gradient tree) of one packed batch."""
    packed = pack(encodeds, count, shape, CONFIG.vision)
    assert None not in packed.where, "the test wants every instance placed"
    key = shape.lanes, space
    if key not in _gradients:
        loss = AnswersAndMaps(MODEL, shape.lanes, LossWeights(binary_focal=0.5), space)
        _gradients[key] = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
    (value, _), gradient = _gradients[key](PARAMS, packed.rows)
    return float(value), jax.tree.map(np.asarray, gradient)


def assert_said_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def assert_trained_equal(ours, theirs):
    """Equal losses, and gradients equal relative to the largest entry of each leaf: a gradient's small entries are
    differences of large sums. Every leaf must have a gradient, or equality would mean nothing."""
    (loss, gradient), (other_loss, other_gradient) = ours, theirs
    np.testing.assert_allclose(loss, other_loss, rtol=TOLERANCE)
    for (path, a), b in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(other_gradient), strict=True):
        name = jax.tree_util.keystr(path)
        scale = np.abs(b).max()
        assert scale > 1e-6, f"{name} has no gradient"
        np.testing.assert_allclose(a, b, rtol=0, atol=max(10 * TOLERANCE * scale, 1e-7), err_msg=name)


@pytest.fixture(scope="module")
def three():
    """Three instances of several blocks; the middle one compresses its second reference."""
    ratios = (1.0, 0.4, 1.0)
    return [ENCODER(inspection(seed, ratio=ratio)) for seed, ratio in zip(SEEDS, ratios, strict=True)]


@pytest.fixture(scope="module")
def singles():
    """Six plain prompts: an inspection each with its own copies of the references it sees, one of them compressed."""
    return [
        ENCODER(i) for seed, ratio in ((SEEDS[0], 1.0), (SEEDS[1], 0.4)) for i in apart(inspection(seed, ratio=ratio))
    ]


def alone(encodeds):
    """What each says in a batch that holds nothing else."""
    return [said for encoded in encodeds for said in forward([encoded], 1, FLAT)]


def test_a_packed_row_is_its_instances_alone(three):
    assert_said_equal(forward(three, 2, FLAT), alone(three))


@pytest.mark.parametrize("shape", [FLAT, LANED], ids=["flat", "laned"])
def test_a_row_filled_up_is_its_instances_alone(shape):
    """Blocks that grew in, and an instance taken as well, say what they say alone."""

    def further(seed):
        return lambda: detection(np.random.default_rng(seed), 1 + seed % 2)

    grown = dataclasses.replace(inspection(0, ratio=0.4, words=False), more=tuple(further(seed) for seed in range(2)))
    filler = Filler(ENCODER.grow, iter([ENCODER(inspection(1, shots=(1,), words=False))]))
    packed = pack([ENCODER(grown)], 1, shape, CONFIG.vision, filler)
    assert len(packed.encodeds) == 2, "a spare"
    assert len(packed.encodeds[0].blocks) > len(grown.blocks), "and further blocks"
    assert_said_equal(says(packed, shape), alone(packed.encodeds))


def test_lanes_are_a_flat_row(three):
    assert_said_equal(forward(three, 3, LANED), forward(three, 3, FLAT))


def test_shared_references_are_separate_prompts(singles):
    """Each block equals a prompt with only the first references it sees: hidden states and both maps."""
    together = [ENCODER(inspection(seed, ratio=ratio)) for seed, ratio in ((SEEDS[0], 1.0), (SEEDS[1], 0.4))]
    assert {block.limit for encoded in together for block in encoded.blocks} != {together[0].blocks[0].limit}
    assert_said_equal(forward(together, 2, LANED), alone(singles))


@pytest.mark.parametrize("space", ["probability", pytest.param("logit", marks=pytest.mark.nightly)])
def test_loss_and_gradients_of_a_packed_row_are_those_of_prompts_alone(singles, space):
    """Six prompts in two rows against a row each, every leaf of both towers."""
    assert_trained_equal(gradients(singles, 2, FLAT, space), gradients(singles, 6, ONE, space))


def test_loss_and_gradients_of_shared_references_are_those_of_separate_prompts(singles):
    """With lanes, and with the paper's maps, whose min–max runs over the batch wherever its maps lie."""
    together = [ENCODER(inspection(seed, ratio=ratio)) for seed, ratio in ((SEEDS[0], 1.0), (SEEDS[1], 0.4))]
    assert_trained_equal(gradients(together, 2, LANED, "probability"), gradients(singles, 6, ONE, "probability"))


def test_nothing_crosses_between_instances(three):
    """Other pixels in one instance leave every bit of the others as it was: masked slots weigh exactly nothing."""
    before = forward(three, 2, FLAT)
    other = ENCODER(inspection(7, ratio=0.4))
    after = forward([three[0], other, three[2]], 2, FLAT)
    blocks = len(three[0].blocks)
    for index in [*range(blocks), *range(2 * blocks, 3 * blocks)]:
        for name, value in before[index].items():
            np.testing.assert_array_equal(value, after[index][name])
    assert not np.allclose(before[blocks]["hidden"], after[blocks]["hidden"], atol=1e-2)


def test_blocks_do_not_see_each_other():
    """A block's answer does not depend on its neighbours, nor on references beyond those it sees."""
    instance = inspection(3, shots=(1, 2), words=False)
    rng = np.random.default_rng(0)
    second = dataclasses.replace(instance.blocks[1], images=(draw_image(rng),))
    changed = dataclasses.replace(
        instance, blocks=(instance.blocks[0], second), shared=(instance.shared[0], draw_image(rng))
    )
    before, after = (forward([ENCODER(i)], 1, FLAT)[0] for i in (instance, changed))
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_order_of_instances_changes_nothing(three):
    """Packed in any order, each instance says the same; loss and gradients are the same."""
    mixed = [three[2], three[0], three[1]]
    said, shuffled = forward(three, 2, FLAT), forward(mixed, 2, FLAT)
    blocks = len(three[0].blocks)
    assert_said_equal(said, shuffled[blocks:] + shuffled[:blocks])
    assert_trained_equal(gradients(mixed, 2, FLAT, "probability"), gradients(three, 2, FLAT, "probability"))
