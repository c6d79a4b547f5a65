"""One training step: forward over packed rows, the losses, the gradient of the trained leaves, the update.

A step may take its rows in microbatches, one after the other, and sums their gradients: memory of one microbatch, the
result of all. Losses are normalised over the whole batch, so the split changes them by rounding only. The paper's maps
(eq. 5) are normalised by the lowest and highest value of the whole batch, which must be known before any gradient: one
more forward pass reads all maps, their loss is taken once over all of them, and its slope goes into the second pass.

Suffixes: B rows, M map queries per row, N map cells.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt.model import IADGPT, Outputs, Rows, take_slots
from iadgpt_jax.train.losses import LossWeights, Totals, answer_loss, chunked_answer_loss, map_loss
from iadgpt_jax.train.optimizer import join_params
from iadgpt_jax.train.state import TrainState


def make_loss(
    model: IADGPT, lanes: Lanes | None, weights: LossWeights, map_space: str, vocab_chunks: int = 1
) -> Callable[..., tuple[jax.Array, dict]]:
    """(params, rows, totals=None, slopes=None) -> (loss, parts). `map_space`: one of losses.MAP_SPACES, or "none".

    Where rows are a part of a batch, `totals` is what the whole adds up to, and `slopes` float32[B, M, 2, N] the
    gradient of its map loss by raw maps, where that is known already: the maps' part is then linear, and left out of
    the parts.
    """

    def loss(params, rows: Rows, totals: Totals | None = None, slopes: jax.Array | None = None):
        outputs = model.apply({"params": params}, rows, lanes, map_space != "none")
        hidden = take_slots(outputs.hidden, rows.target_slots)
        targets = rows.target_ids, rows.target_weights, totals and totals.targets
        if vocab_chunks > 1:
            table = model.apply({"params": params}, method=IADGPT.vocabulary)
            parts = {"answer": chunked_answer_loss(hidden, table, vocab_chunks, *targets)}
        else:
            logits = model.apply({"params": params}, hidden, method=IADGPT.logits)
            parts = {"answer": answer_loss(logits, *targets)}
        total = weights.answer * parts["answer"]
        if slopes is not None:
            return total + (maps_of(outputs, map_space) * slopes).sum(), {"loss": total, **parts}
        if map_space != "none":
            maps = maps_of(outputs, map_space)
            of_maps, more = map_loss(maps, rows.masks, rows.map_valid, map_space, weights, totals and totals.maps)
            total += of_maps
            parts |= more
        return total, {"loss": total, **parts}

    return loss


def maps_of(outputs: Outputs, map_space: str) -> jax.Array:
    """The raw maps that are supervised, float32[B, M, 2, N]."""
    return outputs.logit_maps if map_space == "logit" else outputs.probability_maps


def make_train_step(
    model: IADGPT,
    optimizer: optax.GradientTransformation,
    lanes: Lanes | None,
    weights: LossWeights,
    map_space: str,
    microbatches: int = 1,
    vocab_chunks: int = 1,
) -> Callable[[TrainState, Rows], tuple[TrainState, dict]]:
    """(state, rows) -> (state, metrics float32[]). Jit it with the state donated."""
    loss = make_loss(model, lanes, weights, map_space, vocab_chunks)

    def gradients_of(state: TrainState, rows: Rows, totals: Totals | None = None, slopes: jax.Array | None = None):
        def of_trained(trained):
            return loss(join_params(trained, state.frozen), rows, totals, slopes)

        return jax.grad(of_trained, has_aux=True)(state.trained)

    def accumulated(state: TrainState, rows: Rows):
        parts = microbatched(rows, microbatches)
        slopes, of_maps = None, {}
        if map_space == "probability":

            def read(_, part: Rows):
                return None, maps_of(model.apply({"params": state.params}, part, lanes, True), map_space)

            def of_all(maps):
                return map_loss(maps.reshape(-1, *maps.shape[2:]), *in_turn, map_space, weights)

            in_turn = [x.reshape(-1, *x.shape[2:]) for x in (parts.masks, parts.map_valid)]
            _, maps = jax.lax.scan(read, None, parts)
            (whole, more), slopes = jax.value_and_grad(of_all, has_aux=True)(maps)
            of_maps = {"loss": whole, **more}
        totals = Totals(rows.target_weights.sum(), rows.map_valid.sum())

        def add(gradients, part):
            more, metrics = gradients_of(state, part[0], totals, part[1])
            return jax.tree.map(jnp.add, gradients, more), metrics

        gradients, metrics = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.trained), (parts, slopes))
        metrics = {name: value.sum() for name, value in metrics.items()}
        return gradients, metrics | {name: value + metrics.get(name, 0.0) for name, value in of_maps.items()}

    def step(state: TrainState, rows: Rows):
        gradients, metrics = accumulated(state, rows) if microbatches > 1 else gradients_of(state, rows)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        metrics |= {"gradient_norm": optax.tree.norm(gradients), "targets": (rows.target_weights > 0).sum()}
        metrics = jax.tree.map(lambda x: x.astype(jnp.float32), metrics)
        return TrainState(state.step + 1, trained, state.frozen, moments), metrics

    return step


def microbatched(rows: Rows, count: int) -> Rows:
    """[B, ...] -> [count, B / count, ...]. Row i goes to microbatch i mod count, so that rows that lie split over
    devices in equal runs stay where they are as long as each run divides.

    Raises:
      InputError: the rows do not divide.
    """
    batch = rows.tokens.shape[0]
    if batch % count:
        raise InputError(f"config.rows={batch} does not divide by config.microbatches={count}: change one of them")
    return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(batch // count, count, *x.shape[1:]), 1, 0), rows)
