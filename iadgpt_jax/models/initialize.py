"""Fresh parameters for an IADGPT, with the logical axes of every array beside them.

The "compare" start is for training from scratch: decoder attention begins as matching (keys resemble queries) that
subtracts what it finds (outputs resemble negated values), so a query's token is compared with its like in the
references from the first step on (FACTS.md §8).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.config import ModelConfig
from iadgpt_jax.models.iadgpt import IADGPT, Rows

MATCH, SUBTRACT, NOISE = 0.9, 0.7, 0.3


def blank_rows(config: ModelConfig) -> Rows:
    """The smallest legal batch: one row, one image slot of one window, one of everything else."""
    patches = config.vision.window_units**2 * config.vision.merge**2
    tokens = patches // config.vision.merge**2
    slots = np.zeros((1, tokens + 1), np.int32)
    one = np.zeros((1, 1), np.int32)
    return Rows(
        tokens=slots, segment=slots, block=slots, limit=slots, positions=np.zeros((1, 3, tokens + 1), np.int32),
        patches=np.zeros((1, 1, patches, config.vision.patch_values), np.uint8), grid=np.ones((1, 1, 2), np.int32),
        keep=one + 1, anchor=one, image_slot=slots - 1, image_token=slots, map_rows=np.zeros((1, 1, 1), np.int32),
        map_weights=np.zeros((1, 1, 2, 1), np.float32), map_start=one, map_valid=one.astype(np.float32),
        masks=np.zeros((1, 1, 4, 4), np.uint8), target_slots=one, target_ids=one,
        target_weights=one.astype(np.float32), answer_slots=one,
    )  # fmt: skip


def boxed_params(config: ModelConfig, key: jax.Array):
    """Float32 parameters, each boxed with its logical axes. Trace it with jax.eval_shape for shapes alone."""

    def touch(model: IADGPT, rows: Rows):
        return model.logits(model(rows, maps=False).hidden)

    params = IADGPT(config).init(key, blank_rows(config), method=touch)["params"]
    return _comparing(params, key) if config.init == "compare" else params


def logical_axes(config: ModelConfig):
    """The tree of logical axis names, one tuple per parameter."""
    boxed = jax.eval_shape(lambda: boxed_params(config, jax.random.key(0)))
    return jax.tree.map(
        lambda box: box.names if isinstance(box, nn.meta.AxisMetadata) else (None,) * box.ndim,
        boxed,
        is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata),
    )


def init_params(config: ModelConfig, key: jax.Array):
    """Plain float32 parameter tree."""
    return nn.meta.unbox(boxed_params(config, key))


def _comparing(params, key):
    """Rewrite every decoder attention: q ← .9 k + noise of its KV head, out ← −.7 vᵀ shared among the group's heads."""

    def rewrite(attention, key):
        key_kernel, value_kernel = (nn.meta.unbox(attention[name]["kernel"]) for name in ("k", "v"))
        query, out = attention["q"]["kernel"], attention["out"]["kernel"]
        heads, kv_heads = query.unbox().shape[-2], key_kernel.shape[-2]
        per_kv = heads // kv_heads
        matched = MATCH * jnp.repeat(key_kernel, per_kv, axis=-2)
        matched += NOISE * query.unbox()
        subtracting = -SUBTRACT / per_kv**0.5 * jnp.moveaxis(jnp.repeat(value_kernel, per_kv, axis=-2), -3, -1)
        attention["q"]["kernel"] = query.replace_boxed(matched)
        attention["out"]["kernel"] = out.replace_boxed(subtracting)

    def walk(tree):
        for name, child in tree.items():
            if name == "attention":
                rewrite(child, key)
            elif isinstance(child, dict):
                walk(child)

    walk(params["language"])
    return params
