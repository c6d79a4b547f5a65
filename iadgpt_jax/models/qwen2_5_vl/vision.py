"""Qwen2.5-VL's vision tower over image slots: patch embedding, window and full attention, merger.

Each image lies in a fixed budget of patches in window order: window by window (row-major), inside a window merged
unit by merged unit, inside a unit its 2×2 patches; windows at the right and bottom edge are padded to full size.
Where everything lies follows from the image's grid alone, so window attention is a reshape and nothing scatters.

Suffixes: N images, P patches (budget), W windows, U units per window side, E width, H heads, D head width, T merged
tokens (budget, P / merge²).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.attention import Kernels
from iadgpt_jax.models.attention.dense import DenseImages
from iadgpt_jax.models.layers import Projections, RMSNorm, SwiGLU
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS, VisionConfig
from iadgpt_jax.models.qwen2_5_vl.rope import rotate, vision_angles
from iadgpt_jax.models.remat import KEY, QUERY, RESIDUAL, VALUE, checkpoint_name, rematerialised
from iadgpt_jax.sharding import ActivationSharding

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as published with Qwen2.5-VL
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


class WindowOrder(NamedTuple):
    """Where the patches of each image lie. hw int32[N, P, 2]: row and column in patches; valid bool[N, P];
    raster int32[N, T]: window-order index of each merged token in raster order; token_valid bool[N, T]."""

    hw: jax.Array
    valid: jax.Array
    raster: jax.Array
    token_valid: jax.Array


def window_order(config: VisionConfig, grid, patches: int) -> WindowOrder:
    """From grid int32[N, 2] (height, width in merged tokens; 0 for an empty slot) and the budget P."""
    units, merge = config.window_units, config.merge
    height, width = grid[:, :1], grid[:, 1:]
    windows_wide = jnp.maximum(-(-width // units), 1)

    index = np.arange(patches)
    unit, inside = np.divmod(index, merge**2)
    window, cell = np.divmod(unit, units**2)
    row = window // windows_wide * units + cell // units
    column = window % windows_wide * units + cell % units
    valid = (row < height) & (column < width)
    hw = jnp.stack([row * merge + inside // merge, column * merge + inside % merge], axis=-1)

    token = np.arange(patches // merge**2)
    safe_width = jnp.maximum(width, 1)
    row, column = token // safe_width, token % safe_width
    window = row // units * windows_wide + column // units
    raster = window * units**2 + row % units * units + column % units
    token_valid = token < height * width
    return WindowOrder(hw, valid, jnp.where(token_valid, raster, 0), token_valid)


class VisionAttention(nn.Module):
    config: VisionConfig
    project: Projections = Projections()

    @nn.compact
    def __call__(self, x, cos, sin, kernel):
        """x[M, L, E] attends within each of M sequences; cos, sin float32[M, L, D/2]; kernel: as of Kernels.images."""
        heads, width = self.config.heads, self.config.width // self.config.heads
        axes = ("vision", None, "vision_heads", None)
        qkv = self.project((3, heads, width), axes, True, name="qkv")(x)
        q, k, v = rotate(qkv[..., 0, :, :], cos, sin), rotate(qkv[..., 1, :, :], cos, sin), qkv[..., 2, :, :]
        q, k, v = checkpoint_name(q, QUERY), checkpoint_name(k, KEY), checkpoint_name(v, VALUE)
        axes = ("vision_heads", None, "vision")
        return self.project((self.config.width,), axes, True, 2, name="out")(kernel(q, k, v))


class VisionBlock(nn.Module):
    config: VisionConfig
    project: Projections = Projections()
    pin: ActivationSharding = ActivationSharding()

    @nn.compact
    def __call__(self, x, cos, sin, kernel):
        eps, x = self.config.eps, self.pin(x)
        attention = VisionAttention(self.config, self.project, name="attention")
        x = checkpoint_name(self.pin(x + attention(RMSNorm(eps, name="norm1")(x), cos, sin, kernel)), RESIDUAL)
        mlp = SwiGLU(self.config.mlp, "vision", "vision_mlp", True, self.project, name="mlp")
        return self.pin(x + mlp(RMSNorm(eps, name="norm2")(x)))


class _WindowStep(nn.Module):
    """VisionBlock in the form nn.scan wants."""

    config: VisionConfig
    project: Projections
    pin: ActivationSharding

    @nn.compact
    def __call__(self, x, geometry):
        return VisionBlock(self.config, self.project, self.pin, name="block")(x, *geometry), None


class VisionGroup(nn.Module):
    """Window blocks, then one full-attention block, whose output is the group's tap."""

    config: VisionConfig
    project: Projections = Projections()
    remat: str = "none"
    unroll: bool = False
    pin: ActivationSharding = ActivationSharding()

    @nn.compact
    def __call__(self, x, geometry):
        windowed, full = geometry
        step = rematerialised(_WindowStep, self.remat, prevent_cse=self.unroll)
        inner = self.config.depth // GROUPS - 1
        if inner:
            images, patches, width = x.shape
            scan = nn.scan(
                step, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=inner,
                unroll=inner if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
            )  # fmt: skip
            x = x.reshape(*windowed[0].shape[:2], width)
            x, _ = scan(self.config, self.project, self.pin, name="window")(x, windowed)
            x = x.reshape(images, patches, width)
        x, _ = step(self.config, self.project, self.pin, name="full")(x, full)
        return x, x


class Merger(nn.Module):
    """[N, P, E] -> [N, T, out]: normalise, lay the 2×2 patches of a unit side by side, two-layer GELU MLP."""

    config: VisionConfig
    project: Projections = Projections()

    @nn.compact
    def __call__(self, x):
        x = RMSNorm(self.config.eps, name="norm")(x)
        wide = self.config.width * self.config.merge**2
        x = x.reshape(x.shape[0], -1, wide)
        x = self.project((wide,), ("vision", "vision_mlp"), True, name="fc1")(x)
        x = nn.gelu(x, approximate=False)
        return self.project((self.config.out,), ("vision_mlp", "vision"), True, name="fc2")(x)


class VisionTower(nn.Module):
    """patches uint8[N, P, 3·patch²] in window order, grid int32[N, 2] -> (tokens[N, T, out] in raster order, valid).

    A depth of four equal groups is a scan over groups; any other depth is unrolled. combine(name=…) makes the module
    that turns the outputs of the full-attention blocks [G, N, P, E], which only four equal groups have, into the
    merger's input; None: the last block's output is.
    """

    config: VisionConfig
    dtype: jnp.dtype
    combine: Callable[..., nn.Module] | None = None
    project: Projections = Projections()
    remat: str = "none"
    kernels: Kernels = Kernels()
    unroll: bool = False

    @nn.compact
    def __call__(self, patches, grid):
        config = self.config
        images, budget, values = patches.shape
        order = window_order(config, grid, budget)
        mean = np.repeat(np.float64(IMAGE_MEAN), config.patch**2)
        std = np.repeat(np.float64(IMAGE_STD), config.patch**2)
        # (x / 255 - mean) / std as one multiply-add
        pixels = patches.astype(jnp.float32) * np.float32(1 / (255 * std)) - np.float32(mean / std)
        kernel = self.param(
            "patch_embed", nn.with_logical_partitioning(self.project.initializer(values), (None, None, "vision")),
            (2, values, config.width),
        )  # fmt: skip
        # Both temporal slices of a still image are equal, so their kernels add up.
        pin = ActivationSharding(self.kernels.mesh, self.kernels.rules)
        x = pin(pixels.astype(self.dtype) @ kernel.sum(axis=0).astype(self.dtype))

        angles = vision_angles(order.hw, config.width // config.heads)
        full = (jnp.cos(angles), jnp.sin(angles), order.valid)
        per_window = config.window_units**2 * config.merge**2
        windowed = tuple(a.reshape(images * budget // per_window, per_window, *a.shape[2:]) for a in full)
        windowed = (*windowed[:2], DenseImages(windowed[2]))
        full = (*full[:2], self.kernels.images(order.valid))
        if config.regular:
            scan = nn.scan(
                VisionGroup, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast,
                length=GROUPS, unroll=GROUPS if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
            )  # fmt: skip
            x, taps = scan(config, self.project, self.remat, self.unroll, pin, name="groups")(x, (windowed, full))
        else:
            for index in range(config.depth):
                block = VisionBlock(config, self.project, pin, name=f"block_{index}")
                if index in config.full_blocks:
                    x = block(x, *full)
                else:
                    x = block(x.reshape(*windowed[0].shape[:2], -1), *windowed).reshape(x.shape)
        if self.combine is not None:
            x = self.combine(name="fusion")(taps)
        tokens = pin(Merger(config, self.project, name="merger")(x))
        return jnp.take_along_axis(tokens, order.raster[..., None], axis=1), order.token_valid
