"""Rotary positions: Qwen2.5-VL's 2-D rotary for the ViT and M-RoPE for the decoder.

Angles are float32 whatever the compute dtype. Both rotate halves: pair (j, j + D/2) turns by angle j.
Suffixes: D head width.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np


def vision_angles(patch_hw, head_width: int, theta: float = 10000.0):
    """Angles of the ViT. patch_hw int32[..., 2] (row, column in patches) -> float32[..., D/2]: rows, then columns."""
    frequencies = 1.0 / theta ** (np.arange(0, head_width // 2, 2, dtype=np.float32) / (head_width // 2))
    angles = patch_hw[..., None].astype(jnp.float32) * frequencies
    return angles.reshape(*angles.shape[:-2], -1)


def mrope_angles(positions, head_width: int, theta: float, section: tuple[int, int, int]):
    """Angles of the decoder. positions int32[3, ...] (time, height, width) -> float32[..., D/2].

    Frequency j listens to one of the three axes: the first section[0] to time, then height, then width.
    """
    frequencies = 1.0 / theta ** (np.arange(0, head_width, 2, dtype=np.float32) / head_width)
    axis = np.repeat(np.arange(3), section)
    one_hot = (axis[:, None] == np.arange(3)).astype(np.float32)  # a matmul-free pick that shards and differentiates
    spread = jnp.moveaxis(positions.astype(jnp.float32), 0, -1)
    chosen = sum(spread[..., i : i + 1] * one_hot[:, i] for i in range(3))
    return chosen * frequencies


def rotate(x, cos, sin):
    """Turn x[..., heads, D] by cos/sin float32[..., D/2]; computed in float32, returned in x's dtype."""
    dtype = x.dtype
    low, high = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[..., None, :], sin[..., None, :]
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(dtype)
