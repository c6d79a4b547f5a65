"""train/resume.py: a training state comes back from a checkpoint leaf by leaf, trained and frozen parameters apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from iadgpt_jax.checkpoint.workdir import Checkpoints
from iadgpt_jax.train.resume import restore_state, save_state
from iadgpt_jax.train.state import create


def test_a_state_returns_as_it_was_saved(tmp_path):
    """After two steps of AdamW, so that moments and counts are not 0; the frozen part has neither."""
    params = {"vision": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "language": {"kernel": jnp.ones((3, 2))}}
    optimizer = optax.adamw(1e-2)
    state = create(params, "^vision", optimizer)
    for _ in range(2):
        updates, moments = optimizer.update(state.trained, state.optimizer, state.trained)
        state = state._replace(
            step=state.step + 1, trained=optax.apply_updates(state.trained, updates), optimizer=moments
        )
    with Checkpoints(tmp_path) as checkpoints:
        save_state(checkpoints, state, 7)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 2
        again, data = restore_state(checkpoints, jax.eval_shape(lambda: state), "^vision")
    assert data == 7 and set(again.frozen) == {"vision/kernel"} and set(again.trained) == {"language/kernel"}
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)
