"""config.model: single values of a model's configuration, set over what training starts from."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.registry import init_params, model_of
from iadgpt_jax.models.vision_towers import TOWER, as_tower


def with_options(config: Any, options: Mapping) -> Any:
    """A model's configuration with the values that config.model sets; those that are None stay. `vision.tower` is
    another vision tower, which keeps the sizes that it has in common with the old one (models/vision_towers.py).

    Raises:
      InputError: the values do not go together, or the model has no such key.
    """
    known = {field.name for field in dataclasses.fields(config)}
    changes = {}
    for name, value in options.items():
        if _nested(value):
            if name in known and dict(_given(value)):
                old, inner = getattr(config, name), dict(value.items())
                tower = inner.pop(TOWER, None)
                changes[name] = with_options(as_tower(old, tower) if tower else old, inner)
        elif value is not None:
            if name not in known:
                raise InputError(f"config.model sets {name}, which this model does not have: it has {', '.join(known)}")
            changes[name] = value
    return dataclasses.replace(config, **changes) if changes else config


def started(config: ModelConfig, options: Mapping, start: str) -> ModelConfig:
    """The configuration of weights that `start` holds, with options under which they can be used. Of what only the
    options bring, the model's neutral parameters (models/protocols.py) begin fresh (train/build.py).

    Raises:
      InputError: with the options the model has other weights.
    """
    changed = with_options(config, options)
    if changed == config:
        return config
    before, after = _shapes(config), _shapes(changed)
    for path in sorted(before.keys() | after.keys()):
        if path not in before and re.search(model_of(config).neutral, path):
            continue
        if before.get(path) != after.get(path):
            raise InputError(
                f"{named(options)} does not go with {start}: its {path} is {_size(before.get(path))}, and would be "
                f"{_size(after.get(path))}; leave it as it is, or start from random weights"
            )
    return changed


def continued(config: ModelConfig, options: Mapping, workdir: str) -> ModelConfig:
    """The configuration of a workdir whose training goes on.

    Raises:
      InputError: the options ask for another.
    """
    if with_options(config, options) != config:
        raise InputError(f"{named(options)} is not what {workdir} was trained with: choose another --workdir")
    return config


def named(options: Mapping) -> str:
    """What is set, as on the command line."""
    return " ".join(f"--config.model.{key}={value}" for key, value in _given(options))


def _given(options: Mapping) -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if _nested(value):
            yield from ((f"{key}.{inner}", one) for inner, one in _given(value))
        elif value is not None:
            yield key, value


def _nested(value: Any) -> bool:
    return hasattr(value, "items")  # a ConfigDict is no Mapping


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    tree = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def _size(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape))
