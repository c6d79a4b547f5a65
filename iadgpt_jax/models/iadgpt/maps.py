"""Anomaly maps (paper eq. 5): the attention of keyword rows to the query image's tokens, read beside a layer's own
attention, and its mean over heads, sub-tokens, words and layers.

Suffixes: B rows, S slots, P prefix slots, H heads, K KV heads, D head width, L tapped layers, M map queries per row,
R keyword rows per map query, N query-image tokens, C channels (abnormal words, normal words).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from iadgpt_jax.models.attention import MASKED


@struct.dataclass
class KeywordRows:
    """A tap (models/attention/plans.py). rows int32[B, M, R]: keyword slots; start int32[B, M]: first slot of the query
    image's N tokens; columns int32[N]: 0..N-1."""

    rows: jax.Array
    start: jax.Array
    columns: jax.Array

    def __call__(self, q, k, visible: Callable, prefix: tuple[jax.Array, jax.Array] | None = None):
        """q[B, S, H, D], k[B, S, K, D] after rotation -> (logits, probabilities), each float32[B, M, R, N]: the mean
        over heads of q·k/√D and of its softmax over everything the row sees, prefix included (eq. 5's A^l, before the
        mean over keywords and layers)."""
        batch, queries, rows = self.rows.shape
        width = q.shape[3]
        flat = self.rows.reshape(batch, -1)
        q = jnp.take_along_axis(q, flat[..., None, None], axis=1)
        q = q.reshape(batch, queries * rows, k.shape[2], -1, width)
        logits = jnp.einsum("brkgd,btkd->bkgrt", q, k, preferred_element_type=jnp.float32) * width**-0.5
        seen = visible(flat)[:, None, None]
        total = jax.nn.logsumexp(jnp.where(seen, logits, MASKED), axis=-1, keepdims=True)
        if prefix is not None:
            keys, seen = prefix
            before = jnp.einsum("brkgd,tkd->bkgrt", q, keys, preferred_element_type=jnp.float32) * width**-0.5
            before = jnp.where(seen[:, None, None, None], before, MASKED)
            total = jnp.logaddexp(jax.nn.logsumexp(before, axis=-1, keepdims=True), total)
        columns = (self.start[..., None] + self.columns).reshape(batch, 1, 1, queries, 1, -1)
        logits = logits.reshape(*logits.shape[:3], queries, rows, k.shape[1])
        # The N columns of an unused query, or past an image below the budget, may lie outside the row or be invisible
        # to it. Nothing reads them, but they must stay finite (infinity times 0 is NaN): hence clip and minimum.
        at_image = jnp.take_along_axis(logits, columns, axis=-1, mode="clip")
        probability = jnp.exp(jnp.minimum(at_image - total.reshape(*logits.shape[:-1], 1), 0.0))
        return at_image.mean(axis=(1, 2)), probability.mean(axis=(1, 2))


def pooled(read, weights, layers: slice = slice(None)):
    """What the tapped layers read, float32[L, B, M, R, N] each of a tuple -> maps float32[B, M, C, N] each.

    weights float32[B, M, C, R]: the host's mean over sub-tokens and words, summing to 1 per channel. layers: those that
    count, of the L.
    """
    read = tuple(field[layers] for field in read)
    return tuple(jnp.einsum("lbmrn,bmcr->bmcn", field, weights) / field.shape[0] for field in read)
