"""Decoder attention over packed rows, in two exactly equal forms.

Who sees whom is told by three integers per slot (see `Visibility`), so one rule covers plain instances, packed rows
and queries that share their references. `dense` evaluates the rule over all pairs. `laned` uses what the packer
guarantees when a row has lanes, that a slot sees only the prefix area and its own lane, and never forms the rest.

Suffixes: B rows, S slots, T keys, H heads, K KV heads, G = H / K, D head width, N lanes, C slots per lane, P prefix slots.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

MASKED = -1e30  # finite: a row that sees nothing must not produce NaN


class Visibility(NamedTuple):
    """Integers int32[B, S] that decide visibility.

    segment: the instance a slot belongs to, 0 for padding. block: 0 for the part an instance's query blocks share,
    1.. for its blocks. limit: the slots of block 0 a slot may see end before this index. order: the slot's own index.
    """

    segment: jax.Array
    block: jax.Array
    limit: jax.Array
    order: jax.Array

    def take(self, index) -> Visibility:
        """The same integers at index int32[B, R]."""
        return Visibility(*(jnp.take_along_axis(field, index, axis=1) for field in self))

    def slice(self, start: int, stop: int | None) -> Visibility:
        return Visibility(*(field[:, start:stop] for field in self))


def sees(query: Visibility, key: Visibility):
    """bool[B, R, T]: causal, inside one instance; own block whole, the shared block up to the limit."""
    q = Visibility(*(field[:, :, None] for field in query))
    k = Visibility(*(field[:, None, :] for field in key))
    own = k.block == q.block
    shared = (k.block == 0) & (k.order < q.limit)
    return (q.segment == k.segment) & (k.order <= q.order) & (own | shared)


def dense(q, k, v, mask):
    """Reference form. q[B, S, H, D], k and v[B, T, K, D], mask bool[B, S, T] -> [B, S, H, D]. Softmax in float32."""
    batch, slots, heads, width = q.shape
    grouped = q.reshape(batch, slots, k.shape[2], -1, width)
    logits = jnp.einsum("bskgd,btkd->bkgst", grouped, k, preferred_element_type=jnp.float32) * width**-0.5
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, MASKED), axis=-1).astype(v.dtype)
    return jnp.einsum("bkgst,btkd->bskgd", weights, v).reshape(batch, slots, heads, width)


class LaneMasks(NamedTuple):
    """What a laned row needs instead of S×S: prefix bool[B, P, P], shared bool[B, NC, P], own bool[B, N, C, C]."""

    prefix: jax.Array
    shared: jax.Array
    own: jax.Array


def lane_masks(visibility: Visibility, prefix: int, lanes: int) -> LaneMasks:
    head, tail = visibility.slice(0, prefix), visibility.slice(prefix, None)
    batch, slots = tail.segment.shape
    split = Visibility(*(field.reshape(batch * lanes, slots // lanes) for field in tail))
    own = sees(split, split).reshape(batch, lanes, slots // lanes, slots // lanes)
    return LaneMasks(sees(head, head), sees(tail, head), own)


def laned(q, k, v, masks: LaneMasks):
    """As `dense`, for rows of P prefix slots followed by N lanes. Lanes read the prefix and themselves under one softmax."""
    prefix, lanes, lane = masks.prefix.shape[1], masks.own.shape[1], masks.own.shape[2]
    batch, slots, heads, width = q.shape
    kv = k.shape[2]
    out_prefix = dense(q[:, :prefix], k[:, :prefix], v[:, :prefix], masks.prefix)

    q_lane = q[:, prefix:].reshape(batch, lanes, lane, kv, heads // kv, width)
    k_lane, v_lane = (x[:, prefix:].reshape(batch, lanes, lane, kv, width) for x in (k, v))
    scale = width**-0.5
    to_prefix = jnp.einsum("bnskgd,btkd->bkgnst", q_lane, k[:, :prefix], preferred_element_type=jnp.float32) * scale
    to_own = jnp.einsum("bnskgd,bntkd->bkgnst", q_lane, k_lane, preferred_element_type=jnp.float32) * scale
    shared_mask = masks.shared.reshape(batch, 1, 1, lanes, lane, prefix)
    logits = jnp.concatenate(
        [jnp.where(shared_mask, to_prefix, MASKED), jnp.where(masks.own[:, None, None], to_own, MASKED)], axis=-1
    )
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    out = jnp.einsum("bkgnst,btkd->bnskgd", weights[..., :prefix], v[:, :prefix])
    out += jnp.einsum("bkgnst,bntkd->bnskgd", weights[..., prefix:], v_lane)
    return jnp.concatenate([out_prefix, out.reshape(batch, lanes * lane, heads, width)], axis=1)
