"""The KV cache: keys and values kept from slots that were read before, and new tokens that attend to them.

Suffixes: B rows, M new tokens per row, S prompt slots, T cache slots, H heads, K KV heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from iadgpt_jax.models.attention.dense import MASKED


class KVCache(NamedTuple):
    """Keys and values of one layer, or of several behind leading axes: [..., B, S, K, D] as a layer computes them."""

    keys: jax.Array
    values: jax.Array


def with_room(kept: KVCache, room: int) -> KVCache:
    """[B, S, K, D] -> [B, K, S + room, D]: what a new token reads lies together, and stays where it is."""
    return KVCache(*(jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, room), (0, 0))) for x in kept))


@struct.dataclass
class DecodeStep:
    """The plan (plans.py) of new tokens. mask bool[B, M, T] over cache slots; write_at int32[]: the first of the M
    slots into which their own keys and values go. The layer's cache is laid out as `with_room` does it."""

    mask: jax.Array
    write_at: jax.Array

    def __call__(self, q, k, v, cache: KVCache, tap: Callable | None) -> tuple[jax.Array, KVCache, None]:
        """q[B, M, H, D], k and v[B, M, K, D] -> ([B, M, H, D], the cache with k and v in it, None). Softmax in float32.

        Raises:
          ValueError: a tap, for which nothing is read here.
        """
        if tap is not None:
            raise ValueError("nothing can be tapped while tokens are decoded one by one")
        batch, new, heads, width = q.shape
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(old, jnp.swapaxes(x, 1, 2).astype(old.dtype), self.write_at, axis=2)
            for old, x in zip(cache, (k, v), strict=True)
        )
        kv = k.shape[2]
        # The G heads of a KV head and the M tokens are one axis of the product.
        q = jnp.moveaxis(q.reshape(batch, new, kv, -1, width), 2, 1).reshape(batch, kv, -1, width)
        logits = jnp.einsum("bkrd,bktd->bkrt", q, keys, preferred_element_type=jnp.float32) * width**-0.5
        mask = jnp.repeat(self.mask, heads // kv, axis=1)[:, None]
        weights = jax.nn.softmax(jnp.where(mask, logits, MASKED), axis=-1).astype(values.dtype)
        out = jnp.einsum("bkrt,bktd->bkrd", weights, values)
        out = jnp.moveaxis(out.reshape(batch, kv, new, -1, width), 1, 2).reshape(batch, new, heads, width)
        return out.astype(q.dtype), KVCache(keys, values), None
