"""A step whose loss or gradient is not finite changes nothing but the step's number; the next one is as without it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.train.optimizer import make_optimizer, schedule
from iadgpt_jax.train.state import create
from iadgpt_jax.train.step import make_train_step

SETTINGS = dict(b1=0.9, b2=0.98, weight_decay=0.05, clip=1.0)


class Rows(NamedTuple):
    """tokens float32[B, 2] stand for what a row holds; `slope` infinite: a finite loss without a finite gradient."""

    tokens: jax.Array
    slope: jax.Array
    target_weights: jax.Array


class Squares:
    """Least squares, whose loss is what the rows make it."""

    maps = False

    def __call__(self, params, rows, whole=None, own=None):
        kernel = params["layer"]["kernel"]
        steep = jnp.sqrt(jnp.where(rows.slope > 0, 0.0 * kernel[0], 1.0))
        loss = ((rows.tokens @ kernel) ** 2).sum() + steep.sum()
        return loss, {"loss": loss}

    def before_parts(self, params, rows, parts):
        return None, None, {}


def rows_of(values, slope=0.0) -> Rows:
    tokens = jnp.asarray(values, jnp.float32)
    return Rows(tokens, jnp.full(len(tokens), slope, jnp.float32), jnp.ones(len(tokens), jnp.float32))


GOOD = rows_of([[1.0, 2.0], [0.5, -1.0]])
BAD = {
    "loss": rows_of([[1.0, np.nan], [0.5, -1.0]]),
    "infinite loss": rows_of([[3e38, 3e38], [0.5, -1.0]]),
    "gradient alone": rows_of([[1.0, 2.0], [0.5, -1.0]], slope=1.0),
}


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("name", BAD)
def test_a_step_that_is_not_finite_is_not_applied(name, microbatches):
    optimizer = make_optimizer(schedule(1e-2, 10, 2, 0.0), **SETTINGS)
    step = jax.jit(make_train_step(Squares(), optimizer, microbatches))
    params = {"layer": {"kernel": jnp.array([0.3, -0.2])}, "other": {"bias": jnp.ones(3)}}
    before, metrics = step(create(params, "^other", optimizer), GOOD)
    assert metrics["skipped"] == 0.0
    after, metrics = step(before, BAD[name])
    assert metrics["skipped"] == 1.0 and not np.isfinite(metrics["loss"] + metrics["gradient_norm"])
    assert after.step == before.step + 1, "the data goes on"
    for part in ("trained", "frozen", "optimizer"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(before, part))
    later, metrics = step(after, GOOD)
    undisturbed, _ = step(before, GOOD)
    assert metrics["skipped"] == 0.0 and not np.array_equal(
        later.trained["layer/kernel"], before.trained["layer/kernel"]
    )
    jax.tree.map(np.testing.assert_array_equal, later.trained, undisturbed.trained)
