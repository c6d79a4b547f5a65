"""Attention on NVIDIA GPUs by cuDNN's flash attention, the rule of visibility as an additive mask.

Laned rows become batches of lanes whose keys are the references and the lane's own, so that a lane never meets another
one. cuDNN wants 16-bit inputs, head widths of at most 128 in steps of 8, and even lengths: odd ones are padded here.

Suffixes: B rows, S slots, T keys, H heads, K KV heads, D head width, P prefix slots, N lanes of a group, C slots per
lane.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from iadgpt_jax.models.attention.dense import LaneMasks
from iadgpt_jax.models.remat import CONTEXT, checkpoint_name


@struct.dataclass
class CudnnRows:
    """Flat rows: mask bool[B, S, S]. `implementation` is what jax.nn.dot_product_attention is asked for."""

    mask: jax.Array
    implementation: str = struct.field(pytree_node=False, default="cudnn")

    def __call__(self, q, k, v):
        """q[B, S, H, D], k and v[B, S, K, D] -> [B, S, H, D]."""
        return checkpoint_name(_attend(q, k, v, self.mask, self.implementation), CONTEXT)


@struct.dataclass
class CudnnLanes:
    """Laned rows."""

    masks: LaneMasks
    implementation: str = struct.field(pytree_node=False, default="cudnn")

    def __call__(self, q, k, v):
        """q[B, S, H, D], k and v[B, S, K, D] -> [B, S, H, D]."""
        at = self.masks.prefix.shape[1]
        prefix_k, prefix_v = k[:, :at], v[:, :at]
        parts = [_attend(q[:, :at], prefix_k, prefix_v, self.masks.prefix, self.implementation)]
        for shared, own in self.masks.groups:
            count, lane = own.shape[1:3]
            end = at + count * lane
            q_lane, k_lane, v_lane = (x[:, at:end].reshape(-1, lane, *x.shape[2:]) for x in (q, k, v))
            k_lane, v_lane = (
                jnp.concatenate([jnp.repeat(prefix, count, axis=0), lanes], axis=1)
                for prefix, lanes in ((prefix_k, k_lane), (prefix_v, v_lane))
            )
            mask = jnp.concatenate([shared, own], axis=-1).reshape(-1, lane, k_lane.shape[1])
            out = _attend(q_lane, k_lane, v_lane, mask, self.implementation)
            parts.append(out.reshape(q.shape[0], end - at, *q.shape[2:]))
            at = end
        return checkpoint_name(jnp.concatenate(parts, axis=1), CONTEXT)


@struct.dataclass
class CudnnImages:
    """Full attention inside each image: valid bool[N, P]."""

    valid: jax.Array
    implementation: str = struct.field(pytree_node=False, default="cudnn")

    def __call__(self, q, k, v):
        """q, k, v[N, P, H, D] -> [N, P, H, D]. A patch that is none sees the others of its kind, as in splash."""
        return checkpoint_name(
            _attend(q, k, v, self.valid[:, :, None] == self.valid[:, None, :], self.implementation), CONTEXT
        )


def _attend(q, k, v, mask, implementation):
    """mask bool[B, S, T]; every slot sees at least itself."""
    slots, keys = mask.shape[1:]
    pad_q, pad_k = slots % 2, keys % 2
    if pad_q or pad_k:
        q = jnp.pad(q, ((0, 0), (0, pad_q), (0, 0), (0, 0)))
        k, v = (jnp.pad(x, ((0, 0), (0, pad_k), (0, 0), (0, 0))) for x in (k, v))
        mask = jnp.pad(mask, ((0, 0), (0, pad_q), (0, pad_k))).at[:, slots:, 0].set(True)
    return jax.nn.dot_product_attention(q, k, v, mask=mask[:, None], implementation=implementation)[:, :slots]
