"""AdamW (or Muon) under a warmed-up cosine, clipped, over the parameters a stage trains.

A stage names what it freezes by a regular expression over parameter paths such as
"vision/groups/full/block/mlp/up/kernel". Frozen leaves have no gradient and no optimizer state. Groups of parameters,
named the same way, train at a multiple of the rate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import optax
import optax.contrib
from flax import traverse_util

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import float_dtype


def split_params(params, frozen: str):
    """Parameter tree -> (trained, frozen), both flat dicts from path to array.

    Raises:
      InputError: the expression is none, or freezes everything.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    matches = expression("config.frozen", frozen).search if frozen else lambda path: None
    kept = {path: leaf for path, leaf in flat.items() if matches(path)}
    trained = {path: leaf for path, leaf in flat.items() if path not in kept}
    if not trained:
        raise InputError(f"config.frozen={frozen!r} freezes every parameter: nothing is left to train")
    return trained, kept


def expression(key: str, pattern: str) -> re.Pattern:
    """The regular expression that a key of the configuration holds. Raises InputError where it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"{key} is not a regular expression: {pattern!r} ({error})") from error


def join_params(trained, frozen):
    """The inverse of split_params: one nested tree."""
    return traverse_util.unflatten_dict({**trained, **frozen}, sep="/")


def merge_params(params, known):
    """The parameter tree `params` with the leaves that `known` has in place of its own."""
    return traverse_util.unflatten_dict({**traverse_util.flatten_dict(params), **traverse_util.flatten_dict(known)})


def schedule(peak: float, steps: int, warmup: int, floor: float) -> optax.Schedule:
    """Linear warm-up to `peak`, then a cosine down to floor · peak at `steps`."""
    warmup = min(warmup, max(steps - 1, 0))
    return optax.warmup_cosine_decay_schedule(peak / max(warmup, 1), peak, warmup, max(steps, 1), floor * peak)


def make_optimizer(
    rate: optax.Schedule, *, kind: str = "adamw", b1: float, b2: float, weight_decay: float, clip: float,
    moments: str = "float32", groups: Mapping[str, Mapping] | None = None,
) -> optax.GradientTransformation:  # fmt: skip
    """AdamW, or "muon": orthogonalised momentum for the matrices of the blocks, AdamW for everything else.

    Decay touches matrices only: not norms, biases or gates, whatever axes scanning stacks in front of them.
    groups: name -> {"pattern", "rate"}, parameters that train, and decay, at a multiple of the rate.

    Raises:
      InputError: another kind or type of moments, or a pattern that is no regular expression.
    """
    multiple = multiple_of_rate(groups or {})

    def decays(params):
        return {path: path.endswith(("kernel", "embedding", "head", "patch_embed")) for path in params}

    dtype = float_dtype("config.optimizer.moments", moments)
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
    parts = [optax.clip_by_global_norm(clip), update]
    if any(group["rate"] != 1 for group in (groups or {}).values()):
        parts.append(optax.stateless(lambda updates, _: {path: multiple(path) * u for path, u in updates.items()}))
    return optax.chain(*parts)


def multiple_of_rate(groups: Mapping[str, Mapping]) -> Callable[[str], float]:
    """config.optimizer.groups -> at how many times the rate the parameter at a path trains: what the first group says
    whose pattern finds it, else 1."""
    patterns = [
        (expression(f"config.optimizer.groups.{name}.pattern", group["pattern"]), group["rate"])
        for name, group in groups.items()
    ]
    return lambda path: next((rate for pattern, rate in patterns if pattern.search(path)), 1.0)


def patterns_without_parameters(config, paths: Collection[str]) -> list[str]:
    """The keys of the configuration (configs/common.py) whose regular expression finds none of the model's parameters:
    what they freeze, train at another rate or log is nothing."""
    patterns = {"config.frozen": config.frozen} if config.frozen else {}
    patterns |= {
        f"config.optimizer.groups.{name}.pattern": group.pattern for name, group in config.optimizer.groups.items()
    }
    patterns |= {f"config.log_parameters.{name}": pattern for name, pattern in config.log_parameters.items()}
    return [key for key, pattern in patterns.items() if not any(map(expression(key, pattern).search, paths))]


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
