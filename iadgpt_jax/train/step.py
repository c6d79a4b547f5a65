"""One training step: a model's loss over packed rows, the gradient of the trained leaves, the update.

A step may take its rows in microbatches, one after the other, and sums their gradients: memory of one microbatch, the
result of all. Losses are normalised over the whole batch, so the split changes them by rounding only. What a loss must
know of the whole batch for that, it computes first (`Loss.before_parts`).

A step whose loss or gradient is not finite is not applied: the device itself keeps the weights and moments it had, for
the host learns of it only when later steps are under way (train/guard.py). Only the step's number moves on, and with it
the data.

Suffixes: B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.rows import Rows
from iadgpt_jax.train.optimizer import expression, join_params
from iadgpt_jax.train.state import TrainState


class Loss(Protocol):
    """What a model is trained for (models/registry.py). Losses add up: that of a batch is the sum of its parts'."""

    @property
    def maps(self) -> bool:
        """Whether anomaly maps are supervised, which costs FLOPs."""

    def __call__(self, params, rows: Rows, whole: Any = None, own: Any = None) -> tuple[jax.Array, dict]:
        """(loss float32[], what to log by name). whole, own: of `before_parts`, where rows are a part of a batch."""

    def before_parts(self, params, rows: Rows, parts: Rows) -> tuple[Any, Any, dict]:
        """(what every part must know of the whole batch, what each must know for itself [parts, ...] or None, what is
        known of the batch already and is added to the parts' log)."""


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, microbatches: int = 1
) -> Callable[[TrainState, Rows], tuple[TrainState, dict]]:
    """(state, rows) -> (state, metrics float32[]). Jit it with the state donated. metrics["skipped"] is 1 where the
    step was not applied, else 0."""

    def gradients_of(state: TrainState, rows: Rows, whole: Any = None, own: Any = None):
        def of_trained(trained):
            return loss(join_params(trained, state.frozen), rows, whole, own)

        return jax.grad(of_trained, has_aux=True)(state.trained)

    def accumulated(state: TrainState, rows: Rows):
        parts = microbatched(rows, microbatches)
        whole, each, known = loss.before_parts(state.params, rows, parts)

        def add(gradients, part):
            more, metrics = gradients_of(state, part[0], whole, part[1])
            return jax.tree.map(jnp.add, gradients, more), metrics

        gradients, metrics = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.trained), (parts, each))
        metrics = {name: value.sum() for name, value in metrics.items()}
        return gradients, metrics | {name: value + metrics.get(name, 0.0) for name, value in known.items()}

    def step(state: TrainState, rows: Rows):
        gradients, metrics = accumulated(state, rows) if microbatches > 1 else gradients_of(state, rows)
        updates, moments = optimizer.update(gradients, state.optimizer, state.trained)
        trained = optax.apply_updates(state.trained, updates)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"])
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (trained, moments), (state.trained, state.optimizer)
        )
        metrics |= {"gradient_norm": norm, "targets": (rows.target_weights > 0).sum(), "skipped": ~finite}
        metrics = jax.tree.map(lambda x: x.astype(jnp.float32), metrics)
        return TrainState(state.step + 1, kept[0], state.frozen, kept[1]), metrics

    return step


Step = Callable[[TrainState, Rows], tuple[TrainState, dict]]


def reporting(plain: Step, rate: optax.Schedule, parameters: Mapping[str, str]) -> Step:
    """The `plain` step, whose metrics also have its learning rate, and as name/0, name/1, … the values, after it, of
    the parameters that the regular expressions `parameters` find.

    Raises (when traced):
      InputError: those of a name are more than 64 values.
    """
    patterns = {name: expression(f"config.log_parameters.{name}", pattern) for name, pattern in parameters.items()}

    def step(state: TrainState, rows: Rows):
        after, metrics = plain(state, rows)
        metrics |= {"learning_rate": jnp.asarray(rate(state.step), jnp.float32)}
        everything = {**after.trained, **after.frozen}
        for name, pattern in patterns.items():
            found = [everything[path] for path in sorted(everything) if pattern.search(path)]
            if sum(leaf.size for leaf in found) > 64:
                raise InputError(f"config.log_parameters.{name} finds more than 64 values: name fewer parameters")
            values = [leaf.reshape(-1) for leaf in found]
            for index, value in enumerate(jnp.concatenate(values) if values else ()):
                metrics[f"{name}/{index}"] = value.astype(jnp.float32)
        return after, metrics

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
