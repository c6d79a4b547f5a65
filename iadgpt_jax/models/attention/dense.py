"""Decoder attention in plain XLA operations, in three exactly equal forms: the reference for every kernel.

`dense` evaluates the rule of visibility over all pairs. `FlatRows` leaves out what no slot of a row may see because it
lies behind it. `LanedRows` uses what the packer guarantees when a row has lanes, that a slot sees only the prefix area
and its own lane, and never forms the rest. `DenseImages` is for the vision tower.

Queries are brought into the order that weights are in, keys' heads before slots, and so are keys and values: they are
small. Left to itself XLA changes the order of logits and weights instead, which on a CPU took most of the time.

Suffixes: B rows, S slots, T keys, H heads, K KV heads, G = H / K, D head width, P prefix slots, N lanes of
a group, C slots per lane; in the vision tower N images or windows, P patches.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from iadgpt_jax.models.attention.visibility import Lanes, Visibility, sees
from iadgpt_jax.models.remat import CONTEXT, checkpoint_name

MASKED = -1e30  # finite: a row that sees nothing must not produce NaN
RUN = 256  # of queries in a flat row: their weights over 2,048 keys are 2 MiB a head


def dense(q, k, v, mask):
    """Reference form. q[B, S, H, D], k and v[B, T, K, D], mask bool[B, S, T] -> [B, S, H, D]. Softmax in float32."""
    batch, slots, heads, width = q.shape
    keys, kv = k.shape[1:3]
    q = q.reshape(batch, slots, kv, -1, width).transpose(0, 2, 3, 1, 4).reshape(batch, kv, -1, width)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    logits = jnp.einsum("bkqd,bktd->bkqt", q, k, preferred_element_type=jnp.float32) * width**-0.5
    logits = logits.reshape(batch, kv, -1, slots, keys)
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, MASKED), axis=-1).astype(v.dtype)
    out = jnp.einsum("bkqt,bktd->bkqd", weights.reshape(batch, kv, -1, keys), v)
    return out.reshape(batch, kv, -1, slots, width).transpose(0, 3, 1, 2, 4).reshape(batch, slots, heads, width)


@struct.dataclass
class FlatRows:
    """Rows that attend to themselves: mask bool[B, S, S]. Nobody sees a slot behind its own, so the keys of a `run`
    of queries end with it."""

    mask: jax.Array
    run: int = struct.field(pytree_node=False, default=RUN)

    def __call__(self, q, k, v):
        """q[B, S, H, D], k and v[B, S, K, D] -> [B, S, H, D]."""
        return checkpoint_name(_flat(q, k, v, self.mask, self.run), CONTEXT)


def _flat(q, k, v, mask, run: int = RUN):
    starts = range(0, q.shape[1], run)
    parts = [
        dense(q[:, at : at + run], k[:, : at + run], v[:, : at + run], mask[:, at : at + run, : at + run])
        for at in starts
    ]
    return jnp.concatenate(parts, axis=1)


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


@struct.dataclass
class LanedRows:
    """Rows of P prefix slots followed by lanes, which read the prefix and themselves in one softmax."""

    masks: LaneMasks

    def __call__(self, q, k, v):
        """q[B, S, H, D], k and v[B, S, K, D] -> [B, S, H, D]."""
        at = self.masks.prefix.shape[1]
        prefix_k, prefix_v = k[:, :at], v[:, :at]
        parts = [_flat(q[:, :at], prefix_k, prefix_v, self.masks.prefix)]
        for shared, own in self.masks.groups:
            end = at + own.shape[1] * own.shape[2]
            parts.append(_lanes(q[:, at:end], k[:, at:end], v[:, at:end], prefix_k, prefix_v, shared, own))
            at = end
        return checkpoint_name(jnp.concatenate(parts, axis=1), CONTEXT)


def _lanes(q, k, v, prefix_k, prefix_v, shared, own):
    """One group of lanes: q[B, NC, H, D], k and v[B, NC, K, D] -> [B, NC, H, D]."""
    batch, slots, heads, width = q.shape
    count, lane, kv, scale = own.shape[1], own.shape[2], k.shape[2], width**-0.5
    prefix = prefix_k.shape[1]
    q = q.reshape(batch, count, lane, kv, -1, width).transpose(0, 3, 1, 4, 2, 5)  # [B, K, N, G, C, D]
    k, v = (x.reshape(batch, count, lane, kv, width).transpose(0, 3, 1, 2, 4) for x in (k, v))
    prefix_k, prefix_v = prefix_k.swapaxes(1, 2), prefix_v.swapaxes(1, 2)
    lanes = q.shape[:-1]
    all_lanes, each_lane = (batch, kv, -1), (batch, kv, count, -1)

    to_prefix = jnp.einsum(
        "bkqd,bktd->bkqt", q.reshape(*all_lanes, width), prefix_k, preferred_element_type=jnp.float32
    )
    to_own = jnp.einsum("bknqd,bkntd->bknqt", q.reshape(*each_lane, width), k, preferred_element_type=jnp.float32)
    to_prefix, to_own = to_prefix.reshape(*lanes, prefix) * scale, to_own.reshape(*lanes, lane) * scale
    logits = jnp.concatenate(
        [jnp.where(shared[:, None, :, None], to_prefix, MASKED), jnp.where(own[:, None, :, None], to_own, MASKED)],
        axis=-1,
    )
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    out = jnp.einsum("bkqt,bktd->bkqd", weights[..., :prefix].reshape(*all_lanes, prefix), prefix_v).reshape(q.shape)
    out += jnp.einsum("bknqt,bkntd->bknqd", weights[..., prefix:].reshape(*each_lane, lane), v).reshape(q.shape)
    return out.transpose(0, 2, 4, 1, 3, 5).reshape(batch, slots, heads, width)


@struct.dataclass
class DenseImages:
    """Full attention inside each image or window: valid bool[N, P] says which patches are its own."""

    valid: jax.Array

    def __call__(self, q, k, v):
        """q, k, v[N, P, H, D] -> [N, P, H, D]. Softmax in float32."""
        logits = jnp.einsum("mqhd,mkhd->mhqk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(self.valid[:, None, None, :], logits, MASKED), axis=-1).astype(q.dtype)
        return checkpoint_name(jnp.einsum("mhqk,mkhd->mqhd", weights, v), CONTEXT)
