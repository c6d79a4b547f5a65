"""Where in its image a token stands, as part of what it says.

Rotary positions turn queries and keys, never values: a decoder layer can look at a place, but what it reads there does
not say which place it is. Pretrained weights have learned to tell places all the same; a small model from scratch has
not, and answers "where" little better than by guessing. With `ModelConfig.places` every merged token has a learned
vector of its place added: a smooth function of row and column, the same for any grid.

Suffixes: I images, N merged tokens per image, E decoder width, F waves.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.iadgpt.config import WAVES


class Places(nn.Module):
    """Starts at 0, where nothing is added: weights to start from may lack it."""

    width: int

    @nn.compact
    def __call__(self, grid, count: int, dtype):
        """grid int32[I, 2] (rows, columns) of merged tokens -> dtype[I, N, E], N = `count`, in raster order."""
        init = nn.with_logical_partitioning(nn.initializers.zeros, (None, "embed"))
        kernel = self.param("kernel", init, (WAVES**2 - 1, self.width), jnp.float32)
        return (waves(grid, count) @ kernel).astype(dtype)


def waves(grid, count: int):
    """float32[I, N, F]: cos(π·k·y)·cos(π·l·x) for all k, l below WAVES but k = l = 0, at the tokens' centres y, x as
    parts of the image's height and width. Beyond the grid's tokens the values mean nothing."""
    high, wide = jnp.maximum(grid[:, :1], 1), jnp.maximum(grid[:, 1:], 1)
    token = jnp.arange(count)
    k = np.pi * np.arange(WAVES)
    down = jnp.cos(((token // wide + 0.5) / high)[..., None] * k)
    along = jnp.cos(((token % wide + 0.5) / wide)[..., None] * k)
    return (down[..., :, None] * along[..., None, :]).reshape(*down.shape[:2], WAVES**2)[..., 1:]
