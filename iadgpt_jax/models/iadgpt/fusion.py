"""Adaptive multi-layer fusion (paper, "adaptive weighted module"): h32 + Σ gate · RMS(h8, h16, h24)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Fusion(nn.Module):
    """taps[G, ..., E] of the ViT's groups -> [..., E]. Gates start at 0, where the output is the last tap itself."""

    eps: float

    @nn.compact
    def __call__(self, taps):
        gates = self.param(
            "gates", nn.with_logical_partitioning(nn.initializers.zeros, (None,)), (taps.shape[0] - 1,), jnp.float32
        )
        early = taps[:-1].astype(jnp.float32)
        early *= jax.lax.rsqrt(jnp.mean(early**2, axis=-1, keepdims=True) + self.eps)
        return taps[-1] + jnp.tensordot(gates, early, axes=1).astype(taps.dtype)
