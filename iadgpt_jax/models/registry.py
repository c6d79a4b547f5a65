"""The table of models, and what training, inference and checkpoints ask of a model. Another model is a folder beside
iadgpt/ and a line in `MODELS`; for another vision tower alone there is a table of its own (vision_towers.py).

A model is known by its configuration, whose type tells which one it is; everything else asks here.
"""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import Kernels
from iadgpt_jax.models.iadgpt import entry as iadgpt
from iadgpt_jax.models.protocols import Model, ModelConfig, ModelEntry

MODELS: dict[str, ModelEntry] = {"iadgpt": iadgpt.ENTRY}


def model_of(config: ModelConfig) -> ModelEntry:
    """The line of the table that a configuration belongs to."""
    return next(entry for entry in MODELS.values() if type(config) is entry.config)


def entry(model: str) -> ModelEntry:
    """The line of a name.

    Raises:
      InputError: there is none.
    """
    if model not in MODELS:
        raise InputError(f"no model {model!r}; choose one of {', '.join(MODELS)}")
    return MODELS[model]


def preset(size: str, model: str = "iadgpt") -> ModelConfig:
    """A named configuration: a published size ("3b", "7b", "32b", "72b"), "tiny", trained from scratch, or "bench".

    Raises:
      InputError: there is no such model, or none of this size.
    """
    presets = entry(model).presets
    if size not in presets:
        raise InputError(f"no model size {size!r}; choose one of {', '.join(presets)}")
    return presets[size]


def config_to_dict(config: ModelConfig) -> dict:
    """As model.json has it: its values, and under "model" which one it is."""
    name = next(name for name, entry in MODELS.items() if type(config) is entry.config)
    return {"model": name, **config.to_dict()}


def config_from_dict(values: Mapping) -> ModelConfig:
    """The inverse of config_to_dict; the first checkpoints knew one model and did not name it."""
    values = dict(values)
    return MODELS[values.pop("model", "iadgpt")].config.from_dict(values)


def float_dtype(key: str, name: str) -> jnp.dtype:
    """The type that a value of the configuration names. Raises InputError, naming its key, for another than these."""
    known = ("float32", "bfloat16", "float16")
    if name not in known:
        raise InputError(f"{key} is {name!r}: choose one of {', '.join(known)}")
    return jnp.dtype(name)


def make_module(
    config: ModelConfig, dtype: jnp.dtype = jnp.float32, remat: str = "none", kernels: Kernels | None = None,
    unroll: bool = False,
) -> Model:  # fmt: skip
    """The flax module that computes in `dtype`. remat: a policy of models/remat.py; kernels: None for plain attention
    without a mesh; unroll: layers are written out instead of looped over."""
    return model_of(config).module(config, dtype, remat, kernels or Kernels(), unroll)


def init_params(config: ModelConfig, key: jax.Array):
    """Fresh float32 parameters, a plain tree."""
    return nn.meta.unbox(model_of(config).boxed_params(config, key))


def logical_axes(config: ModelConfig):
    """The tree of logical axis names, one tuple per parameter."""
    boxed = jax.eval_shape(lambda: model_of(config).boxed_params(config, jax.random.key(0)))
    return jax.tree.map(
        lambda box: box.names if isinstance(box, nn.meta.AxisMetadata) else (None,) * box.ndim,
        boxed,
        is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata),
    )
