"""One training step: forward over packed rows, the losses, the gradient of the trained leaves, the update."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt import IADGPT, Rows, take_slots
from iadgpt_jax.train.losses import LossWeights, answer_loss, map_loss
from iadgpt_jax.train.optimizer import join_params
from iadgpt_jax.train.state import TrainState


def make_loss(
    model: IADGPT, lanes: Lanes | None, weights: LossWeights, map_space: str
) -> Callable[[dict, Rows], tuple[jax.Array, dict]]:
    """(params, rows) -> (loss, parts). `map_space` "logit" or "probability" as in losses.map_scores, or "none"."""

    def loss(params, rows: Rows):
        outputs = model.apply({"params": params}, rows, lanes, map_space != "none")
        hidden = take_slots(outputs.hidden, rows.target_slots)
        logits = model.apply({"params": params}, hidden, method=IADGPT.logits)
        parts = {"answer": answer_loss(logits, rows.target_ids, rows.target_weights)}
        total = weights.answer * parts["answer"]
        if map_space != "none":
            maps = outputs.logit_maps if map_space == "logit" else outputs.probability_maps
            of_maps, more = map_loss(maps, rows.masks, rows.map_valid, map_space, weights)
            total += of_maps
            parts |= more
        return total, {"loss": total, **parts}

    return loss


def make_train_step(
    model: IADGPT,
    optimizer: optax.GradientTransformation,
    lanes: Lanes | None,
    weights: LossWeights,
    map_space: str,
) -> Callable[[TrainState, Rows], tuple[TrainState, dict]]:
    """(state, rows) -> (state, metrics float32[]). Jit it with the state donated."""
    loss = make_loss(model, lanes, weights, map_space)

    def step(state: TrainState, rows: Rows):
        def of_trained(trained):
            return loss(join_params(trained, state.frozen), rows)

        gradients, metrics = jax.grad(of_trained, has_aux=True)(state.trained)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        metrics |= {"gradient_norm": optax.tree.norm(gradients), "targets": (rows.target_weights > 0).sum()}
        metrics = jax.tree.map(lambda x: x.astype(jnp.float32), metrics)
        return TrainState(state.step + 1, trained, state.frozen, moments), metrics

    return step
