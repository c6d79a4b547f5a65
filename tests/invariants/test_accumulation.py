"""A step in microbatches is the step on the whole batch, on any mesh; logits in chunks are the logits.

Tolerance as in tests/invariants/test_sharding.py: the same float32 terms, summed in another order.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.data.loader import put
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.answer_loss import answer_losses, chunked_answer_losses, weighted_mean
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from iadgpt_jax.models.registry import logical_axes
from iadgpt_jax.sharding import ShardingRules, make_mesh, replicated, rows_sharding
from iadgpt_jax.train.optimizer import make_optimizer
from iadgpt_jax.train.state import create, state_shardings
from iadgpt_jax.train.step import make_train_step, microbatched
from tests.small_iadgpt import BUDGET, QUICK, apart, inspection, lively_params, small_encoder

CONFIG = small_encoder().config
SHAPE = RowShape(slots=192, images=4, patches=BUDGET, maps=2, keyword_rows=8, targets=32, mask_side=16)
RATE = 1e-2
TOLERANCE = 2e-4  # of a leaf's largest gradient


@functools.cache
def stepped(microbatches: int, chunks: int, devices: int = 1, frozen: str = ""):
    """(state after one step over four unlike rows, metrics): AdamW's first moment is .1 times the clipped gradient."""
    encodeds = [small_encoder()(one) for seed in range(2) for one in apart(inspection(seed, shots=(1, 2), words=True))]
    packed = pack(encodeds[:4], 4, SHAPE, CONFIG.vision)
    rules, mesh = ShardingRules(), make_mesh(1, devices, 1, devices=jax.devices()[:devices])
    optimizer = make_optimizer(lambda step: RATE, b1=0.9, b2=0.98, weight_decay=0.05, clip=1.0)
    state = create(lively_params(CONFIG), frozen, optimizer)
    shardings = state_shardings(mesh, rules, logical_axes(CONFIG), jax.eval_shape(lambda: state))
    step = jax.jit(
        make_train_step(
            AnswersAndMaps(IADGPT(CONFIG), None, LossWeights(binary_focal=0.5), "probability", chunks), optimizer,
            microbatches,
        ),
        in_shardings=(shardings, rows_sharding(mesh, rules)), out_shardings=(shardings, replicated(mesh)),
        compiler_options=QUICK,
    )  # fmt: skip
    after, metrics = step(jax.device_put(state, shardings), put(packed.rows, rows_sharding(mesh, rules)))
    return after, {name: float(value) for name, value in metrics.items()}


def first_moment(state):
    return next(part for part in jax.tree.leaves(state.optimizer, is_leaf=lambda x: isinstance(x, dict))
                if isinstance(part, dict))  # fmt: skip


@pytest.mark.parametrize(
    ("microbatches", "chunks", "devices"), [pytest.param(4, 4, 1, marks=pytest.mark.nightly), (2, 3, 2)]
)
def test_a_step_in_parts_is_the_step_on_the_whole(microbatches, chunks, devices):
    """Rows with unequal numbers of targets and maps, the paper's min–max over all of them, logits in chunks."""
    expected, expected_metrics = stepped(1, 1)
    after, metrics = stepped(microbatches, chunks, devices)
    assert metrics.keys() == expected_metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], rtol=2e-5, err_msg=name)
    for path, gradient in first_moment(expected).items():
        ours, gradient = np.asarray(first_moment(after)[path]), np.asarray(gradient)
        largest = np.abs(gradient).max()
        assert largest > 0, f"{path} has no gradient"
        np.testing.assert_allclose(ours, gradient, rtol=0, atol=TOLERANCE * largest, err_msg=path)
        # Adam's first update is the gradient's sign, which rounding decides where the gradient all but vanishes.
        clear = np.abs(gradient) > 0.1 * largest
        moved = np.abs(np.asarray(after.trained[path]) - np.asarray(expected.trained[path]))
        assert moved[clear].max() <= 0.01 * RATE, path


def test_rows_that_do_not_divide_are_refused():
    rows = pack([], 4, SHAPE, CONFIG.vision).rows
    assert microbatched(rows, 2).tokens.shape == (2, 2, SHAPE.slots)
    with pytest.raises(InputError, match="config.rows=4 does not divide by config.microbatches=3"):
        microbatched(rows, 3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_in_chunks_give_the_loss_and_gradients_of_whole_ones(dtype):
    """In bfloat16 the logits round alike, being of the same inputs; gradients of hidden states round once a chunk, by
    2⁻⁹ each."""
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(2, 7, 16)), dtype)
    table = jnp.asarray(rng.normal(size=(60, 16)), jnp.float32)
    ids, weights = rng.integers(0, 60, (2, 7)), rng.integers(0, 3, (2, 7)).astype(np.float32)

    def whole(hidden, table):
        logits = jnp.einsum("bae,ve->bav", hidden, table.astype(dtype), preferred_element_type=jnp.float32)
        return weighted_mean(answer_losses(logits, ids), weights)

    def in_chunks(hidden, table):
        return weighted_mean(chunked_answer_losses(hidden, table, 5, ids), weights)

    (a, (ha, ta)), (b, (hb, tb)) = (jax.value_and_grad(f, (0, 1))(hidden, table) for f in (whole, in_chunks))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    for x, y in ((ha, hb), (ta, tb)):
        x, y = np.float32(x), np.float32(y)
        np.testing.assert_allclose(x, y, rtol=0, atol=(1e-6 if dtype == "float32" else 1e-2) * np.abs(x).max())
    with pytest.raises(InputError, match="config.vocab_chunks=7 does not divide the vocabulary of 60"):
        chunked_answer_losses(hidden, table, 7, ids)
