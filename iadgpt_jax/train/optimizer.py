"""AdamW (or Muon) under a warmed-up cosine, clipped, over the parameters a stage trains.

A stage names what it freezes by a regular expression over parameter paths such as
"vision/groups/full/block/mlp/up/kernel". Frozen leaves have no gradient and no optimizer state.
"""

from __future__ import annotations

import re

import jax.numpy as jnp
import optax
import optax.contrib
from flax import traverse_util

from iadgpt_jax.errors import InputError


def split_params(params, frozen: str):
    """Parameter tree -> (trained, frozen), both flat dicts from path to array.

    Raises:
      InputError: the expression is none, or freezes everything.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    try:
        matches = re.compile(frozen).search if frozen else lambda path: None
    except re.error as error:
        raise InputError(f"config.frozen is not a regular expression: {frozen!r} ({error})") from error
    kept = {path: leaf for path, leaf in flat.items() if matches(path)}
    trained = {path: leaf for path, leaf in flat.items() if path not in kept}
    if not trained:
        raise InputError(f"config.frozen={frozen!r} freezes every parameter: nothing is left to train")
    return trained, kept


def join_params(trained, frozen):
    """The inverse of split_params: one nested tree."""
    return traverse_util.unflatten_dict({**trained, **frozen}, sep="/")


def schedule(peak: float, steps: int, warmup: int, floor: float) -> optax.Schedule:
    """Linear warm-up to `peak`, then a cosine down to floor · peak at `steps`."""
    warmup = min(warmup, max(steps - 1, 0))
    return optax.warmup_cosine_decay_schedule(peak / max(warmup, 1), peak, warmup, max(steps, 1), floor * peak)


def make_optimizer(
    rate: optax.Schedule, *, kind: str = "adamw", b1: float, b2: float, weight_decay: float, clip: float,
    moments: str = "float32",
) -> optax.GradientTransformation:  # fmt: skip
    """AdamW, or "muon": orthogonalised momentum for the matrices of the blocks, AdamW for everything else, at one rate.

    Decay touches matrices only: not norms, biases or gates, whatever axes scanning stacks in front of them.

    Raises:
      InputError: another kind.
    """

    def decays(params):
        return {path: path.endswith(("kernel", "embedding", "head", "patch_embed")) for path in params}

    dtype = jnp.dtype(moments)
    update = optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=decays, mu_dtype=dtype)
    if kind == "muon":
        # Optax's muon has an AdamW of its own for the rest, but one that decays norms, biases and gates too.
        muon = optax.contrib.muon(
            rate, weight_decay=weight_decay, mu_dtype=dtype, muon_weight_dimension_numbers=muon_matrices,
            consistent_rms=0.2,
        )  # fmt: skip
        update = optax.partition({"muon": muon, "adamw": update}, _labels)
    elif kind != "adamw":
        raise InputError(f"config.optimizer.kind is {kind!r}: choose adamw or muon")
    return optax.chain(optax.clip_by_global_norm(clip), update)


# Axes from the end: (inputs, outputs). Axes in front of them are stacks of layers, or of q, k and v.
_MATRICES = {"qkv/kernel": ((-4,), (-2, -1)), "out/kernel": ((-3, -2), (-1,)), "mlp/": ((-2,), (-1,))}
_MATRICES |= {f"attention/{name}/kernel": ((-3,), (-2, -1)) for name in "qkv"}


def muon_matrices(params) -> dict[str, optax.contrib.MuonDimensionNumbers | None]:
    """Which axes of each leaf form a matrix; None: not one of the blocks' matrices."""

    def of(path: str, leaf):
        for part, (inputs, outputs) in _MATRICES.items():
            if part in path and path.endswith("kernel"):
                return optax.contrib.MuonDimensionNumbers(
                    tuple(axis % leaf.ndim for axis in inputs), tuple(axis % leaf.ndim for axis in outputs)
                )
        return None

    return {path: of(path, leaf) for path, leaf in params.items()}


def _labels(params) -> dict[str, str]:
    return {path: "adamw" if axes is None else "muon" for path, axes in muon_matrices(params).items()}
