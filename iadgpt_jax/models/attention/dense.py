"""Decoder attention in plain XLA operations, in two exactly equal forms: the reference for every kernel.

`dense` evaluates the rule of visibility over all pairs. `laned` uses what the packer guarantees when a row has lanes,
that a slot sees only the prefix area and its own lane, and never forms the rest.

Suffixes: B rows, S slots, T keys, H heads, K KV heads, G = H / K, D head width, P prefix slots, N lanes of
a group, C slots per lane.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention.visibility import Lanes, Visibility, sees

MASKED = -1e30  # finite: a row that sees nothing must not produce NaN


def dense(q, k, v, mask):
    """Reference form. q[B, S, H, D], k and v[B, T, K, D], mask bool[B, S, T] -> [B, S, H, D]. Softmax in float32."""
    batch, slots, heads, width = q.shape
    grouped = q.reshape(batch, slots, k.shape[2], -1, width)
    logits = jnp.einsum("bskgd,btkd->bkgst", grouped, k, preferred_element_type=jnp.float32) * width**-0.5
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, MASKED), axis=-1).astype(v.dtype)
    return jnp.einsum("bkgst,btkd->bskgd", weights, v).reshape(batch, slots, heads, width)


class LaneMasks(NamedTuple):
    """What a laned row needs instead of S×S: prefix bool[B, P, P] and, per group, shared bool[B, N, C, P] and own
    bool[B, N, C, C]."""

    prefix: jax.Array
    groups: tuple[tuple[jax.Array, jax.Array], ...]


def lane_masks(visibility: Visibility, lanes: Lanes) -> LaneMasks:
    batch = visibility.segment.shape[0]
    head, at, groups = visibility.slice(0, lanes.prefix), lanes.prefix, []
    for count, lane in lanes.groups:
        part = visibility.slice(at, at + count * lane)
        split = Visibility(*(field.reshape(batch * count, lane) for field in part))
        shared = sees(part, head).reshape(batch, count, lane, lanes.prefix)
        groups.append((shared, sees(split, split).reshape(batch, count, lane, lane)))
        at += count * lane
    return LaneMasks(sees(head, head), tuple(groups))


def laned(q, k, v, masks: LaneMasks):
    """As `dense`, for rows of P prefix slots followed by lanes, which read the prefix and themselves in one softmax."""
    at = masks.prefix.shape[1]
    prefix_k, prefix_v = k[:, :at], v[:, :at]
    parts = [dense(q[:, :at], prefix_k, prefix_v, masks.prefix)]
    for shared, own in masks.groups:
        end = at + own.shape[1] * own.shape[2]
        parts.append(_lanes(q[:, at:end], k[:, at:end], v[:, at:end], prefix_k, prefix_v, shared, own))
        at = end
    return jnp.concatenate(parts, axis=1)


def _lanes(q, k, v, prefix_k, prefix_v, shared, own):
    """One group of lanes: q[B, NC, H, D], k and v[B, NC, K, D] -> [B, NC, H, D]."""
    batch, slots, heads, width = q.shape
    count, lane, kv, scale = own.shape[1], own.shape[2], k.shape[2], width**-0.5
    prefix = prefix_k.shape[1]
    q = q.reshape(batch, count, lane, kv, heads // kv, width)
    k, v = (x.reshape(batch, count, lane, kv, width) for x in (k, v))
    to_prefix = jnp.einsum("bnskgd,btkd->bkgnst", q, prefix_k, preferred_element_type=jnp.float32) * scale
    to_own = jnp.einsum("bnskgd,bntkd->bkgnst", q, k, preferred_element_type=jnp.float32) * scale
    logits = jnp.concatenate(
        [jnp.where(shared[:, None, None], to_prefix, MASKED), jnp.where(own[:, None, None], to_own, MASKED)], axis=-1
    )
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    out = jnp.einsum("bkgnst,btkd->bnskgd", weights[..., :prefix], prefix_v)
    out += jnp.einsum("bkgnst,bntkd->bnskgd", weights[..., prefix:], v)
    return out.reshape(batch, slots, heads, width)
