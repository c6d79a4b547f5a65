"""Attention of lanes to a prefix that was read before: its keys and values are at hand, and all lanes share them.

A lane is one query's run of slots. It sees the prefix up to its own limit, and itself causally; nothing else. Both
parts are two plain matrix products merged by their maxima and sums, so that the prefix is never copied per lane.

Suffixes: B lanes, C slots per lane, P prefix slots, H heads, K KV heads, G = H / K, D head width, R some slots of a
lane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from iadgpt_jax.models.attention.dense import MASKED
from iadgpt_jax.models.attention.kv_cache import KVCache


@struct.dataclass
class AfterPrefix:
    """The plan (plans.py) of lanes behind a prefix. limit int32[B]: the prefix slots a lane sees end before this one.
    Every lane sees one at least. The layer's cache is of the prefix alone: [1, P, K, D]."""

    limit: jax.Array

    def __call__(self, q, k, v, cache: KVCache, tap: Callable | None) -> tuple[jax.Array, None, Any]:
        prefix_k, prefix_v = cache.keys[0], cache.values[0]
        seen = np.arange(prefix_k.shape[0]) < self.limit[:, None]

        def visible(slots):
            return np.arange(k.shape[1]) <= slots[..., None]

        read = None if tap is None else tap(q, k, visible, (prefix_k, seen))
        return attend(q, k, v, prefix_k, prefix_v, seen), None, read


def attend(q, k, v, prefix_k, prefix_v, seen):
    """q[B, C, H, D], k and v[B, C, K, D], prefix_k and prefix_v[P, K, D], seen bool[B, P] -> [B, C, H, D]. Softmax in
    float32."""
    batch, slots, heads, width = q.shape
    q = q.reshape(batch, slots, k.shape[2], -1, width)
    to_prefix = jnp.einsum("bskgd,tkd->kbsgt", q, prefix_k, preferred_element_type=jnp.float32) * width**-0.5
    to_own = jnp.einsum("bskgd,btkd->bksgt", q, k, preferred_element_type=jnp.float32) * width**-0.5
    to_prefix = jnp.where(seen[None, :, None, None], to_prefix, MASKED)
    to_own = jnp.where(np.tri(slots, dtype=bool)[:, None], to_own, MASKED)
    # Each part's maximum, weights and sums are laid out as its products are; only small arrays change places.
    top = jnp.maximum(_of_prefix(to_prefix.max(axis=-1)), _of_own(to_own.max(axis=-1)))
    prefix_weights = jnp.exp(to_prefix - jnp.moveaxis(top, 2, 0)[..., None])
    own_weights = jnp.exp(to_own - jnp.moveaxis(top, 2, 1)[..., None])
    total = _of_prefix(prefix_weights.sum(axis=-1)) + _of_own(own_weights.sum(axis=-1))
    out = jnp.einsum("kbsgt,tkd->bskgd", prefix_weights.astype(v.dtype), prefix_v, preferred_element_type=jnp.float32)
    out += jnp.einsum("bksgt,btkd->bskgd", own_weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (out / total[..., None]).astype(v.dtype).reshape(batch, slots, heads, width)


def _of_prefix(values):
    """[K, B, C, G] -> [B, C, K, G]."""
    return jnp.moveaxis(values, 0, 2)


def _of_own(values):
    """[B, K, C, G] -> [B, C, K, G]."""
    return jnp.moveaxis(values, 1, 2)
