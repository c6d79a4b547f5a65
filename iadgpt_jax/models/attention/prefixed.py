"""Attention of lanes to a prefix that was read before: its keys and values are at hand, and all lanes share them.

A lane is one query's run of slots. It sees the prefix up to its own limit, and itself causally; nothing else. Both
parts are two plain matrix products merged by their maxima and sums, so that the prefix is never copied per lane.

Suffixes: B lanes, C slots per lane, P prefix slots, H heads, K KV heads, G = H / K, D head width, M map queries per
lane, R keyword rows per map query, N query-image tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.attention import MASKED


class AfterPrefix(NamedTuple):
    """limit int32[B]: the prefix slots a lane sees end before this one. Every lane sees one at least."""

    limit: jax.Array


def read(q, k, v, prefix_k, prefix_v, after: AfterPrefix, maps):
    """(attended [B, C, H, D], maps as `keyword_rows` gives them): the latter None where `maps` is."""
    read = None if maps is None else keyword_rows(q, k, prefix_k, after, maps.rows, maps.start, maps.columns)
    return attend(q, k, v, prefix_k, prefix_v, after), read


def attend(q, k, v, prefix_k, prefix_v, after: AfterPrefix):
    """q[B, C, H, D], k and v[B, C, K, D], prefix_k and prefix_v[P, K, D] -> [B, C, H, D]. Softmax in float32."""
    batch, slots, heads, width = q.shape
    q = q.reshape(batch, slots, k.shape[2], -1, width)
    to_prefix = jnp.einsum("bskgd,tkd->kbsgt", q, prefix_k, preferred_element_type=jnp.float32) * width**-0.5
    to_own = jnp.einsum("bskgd,btkd->bksgt", q, k, preferred_element_type=jnp.float32) * width**-0.5
    seen = np.arange(prefix_k.shape[0]) < after.limit[:, None]
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


def keyword_rows(q, k, prefix_k, after: AfterPrefix, rows, start, columns):
    """Attention of keyword rows to the query image, as the plain form has it: (logits, probabilities), each
    float32[B, M, R, N]. rows int32[B, M, R] and start int32[B, M] count from the lane's first slot."""
    batch, queries, per = rows.shape
    slots, width = q.shape[1], q.shape[3]
    flat = rows.reshape(batch, -1)
    q = jnp.take_along_axis(q, flat[..., None, None], axis=1)
    q = q.reshape(batch, queries * per, k.shape[2], -1, width)
    to_prefix = jnp.einsum("brkgd,tkd->bkgrt", q, prefix_k, preferred_element_type=jnp.float32) * width**-0.5
    to_own = jnp.einsum("brkgd,btkd->bkgrt", q, k, preferred_element_type=jnp.float32) * width**-0.5
    seen = np.arange(prefix_k.shape[0]) < after.limit[:, None]
    own = np.arange(slots) <= flat[..., None]
    total = jnp.logaddexp(
        jax.nn.logsumexp(jnp.where(seen[:, None, None, None], to_prefix, MASKED), axis=-1),
        jax.nn.logsumexp(jnp.where(own[:, None, None], to_own, MASKED), axis=-1),
    )
    at = (start[..., None] + columns).reshape(batch, 1, 1, queries, 1, -1)
    to_own = to_own.reshape(*to_own.shape[:3], queries, per, slots)
    # Columns past a small image lie outside the lane or are invisible to it; nothing reads them, but they stay finite.
    at_image = jnp.take_along_axis(to_own, at, axis=-1, mode="clip")
    probability = jnp.exp(jnp.minimum(at_image - total.reshape(*to_own.shape[:-1], 1), 0.0))
    return at_image.mean(axis=(1, 2)), probability.mean(axis=(1, 2))


def _of_prefix(values):
    """[K, B, C, G] -> [B, C, K, G]."""
    return jnp.moveaxis(values, 0, 2)


def _of_own(values):
    """[B, K, C, G] -> [B, C, K, G]."""
    return jnp.moveaxis(values, 1, 2)
