"""Qwen2.5-VL's vision tower over image slots: patch embedding, window and full attention, fusion of taps, merger.

Each image lies in a fixed budget of patches in window order: window by window (row-major), inside a window merged
unit by merged unit, inside a unit its 2×2 patches; windows at the right and bottom edge are padded to full size.
Where everything lies follows from the image's grid alone, so window attention is a reshape and nothing scatters.

Suffixes: N images, P patches (budget), W windows, U units per window side, E width, H heads, D head width, T merged
tokens (budget, P / merge²).
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.attention import MASKED, Kernels
from iadgpt_jax.models.iadgpt.fusion import Fusion
from iadgpt_jax.models.layers import Project, RMSNorm, SwiGLU, kernel_init
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS, VisionConfig
from iadgpt_jax.models.qwen2_5_vl.rope import rotate, vision_angles
from iadgpt_jax.models.remat import CONTEXT, KEY, QUERY, RESIDUAL, VALUE, name, rematerialised
from iadgpt_jax.sharding import Layout

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as published with Qwen2.5-VL
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


class Placement(NamedTuple):
    """Where the patches of each image lie. hw int32[N, P, 2]: row and column in patches; valid bool[N, P];
    raster int32[N, T]: window-order index of each merged token in raster order; token_valid bool[N, T]."""

    hw: jax.Array
    valid: jax.Array
    raster: jax.Array
    token_valid: jax.Array


def placement(config: VisionConfig, grid, patches: int) -> Placement:
    """Placement from grid int32[N, 2] (height, width in merged tokens; 0 for an empty slot) and the budget P."""
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
    return Placement(hw, valid, jnp.where(token_valid, raster, 0), token_valid)


class VisionAttention(nn.Module):
    config: VisionConfig
    init_kind: str

    @nn.compact
    def __call__(self, x, cos, sin, valid):
        """x[M, L, E] attends within each of M sequences; cos, sin float32[M, L, D/2]; valid bool[M, L], or a fused
        kernel's plan of it."""
        heads, width = self.config.heads, self.config.width // self.config.heads
        axes = ("vision", None, "vision_heads", None)
        qkv = Project((3, heads, width), axes, True, init_kind=self.init_kind, name="qkv")(x)
        q, k, v = rotate(qkv[..., 0, :, :], cos, sin), rotate(qkv[..., 1, :, :], cos, sin), qkv[..., 2, :, :]
        q, k, v = name(q, QUERY), name(k, KEY), name(v, VALUE)
        out = valid(q, k, v) if callable(valid) else name(_dense(q, k, v, valid), CONTEXT)
        axes = ("vision_heads", None, "vision")
        return Project((self.config.width,), axes, True, inputs=2, init_kind=self.init_kind, name="out")(out)


def _dense(q, k, v, valid):
    """q, k, v[M, L, H, D], valid bool[M, L] -> [M, L, H, D]. Softmax in float32."""
    logits = jnp.einsum("mqhd,mkhd->mhqk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(valid[:, None, None, :], logits, MASKED), axis=-1).astype(q.dtype)
    return jnp.einsum("mhqk,mkhd->mqhd", weights, v)


class VisionBlock(nn.Module):
    config: VisionConfig
    init_kind: str
    layout: Layout = Layout()

    @nn.compact
    def __call__(self, x, cos, sin, valid):
        eps, x = self.config.eps, self.layout(x)
        attention = VisionAttention(self.config, self.init_kind, name="attention")
        x = name(self.layout(x + attention(RMSNorm(eps, name="norm1")(x), cos, sin, valid)), RESIDUAL)
        mlp = SwiGLU(self.config.mlp, "vision", "vision_mlp", True, self.init_kind, name="mlp")
        return self.layout(x + mlp(RMSNorm(eps, name="norm2")(x)))


class _WindowStep(nn.Module):
    """VisionBlock in the form nn.scan wants."""

    config: VisionConfig
    init_kind: str
    layout: Layout

    @nn.compact
    def __call__(self, x, geometry):
        return VisionBlock(self.config, self.init_kind, self.layout, name="block")(x, *geometry), None


class VisionGroup(nn.Module):
    """Window blocks, then one full-attention block, whose output is the group's tap."""

    config: VisionConfig
    init_kind: str
    remat: str
    unroll: bool = False
    layout: Layout = Layout()

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
            x, _ = scan(self.config, self.init_kind, self.layout, name="window")(x, windowed)
            x = x.reshape(images, patches, width)
        x, _ = step(self.config, self.init_kind, self.layout, name="full")(x, full)
        return x, x


class Merger(nn.Module):
    """[N, P, E] -> [N, T, out]: normalise, lay the 2×2 patches of a unit side by side, two-layer GELU MLP."""

    config: VisionConfig
    init_kind: str

    @nn.compact
    def __call__(self, x):
        x = RMSNorm(self.config.eps, name="norm")(x)
        wide = self.config.width * self.config.merge**2
        x = x.reshape(x.shape[0], -1, wide)
        x = Project((wide,), ("vision", "vision_mlp"), True, init_kind=self.init_kind, name="fc1")(x)
        x = nn.gelu(x, approximate=False)
        return Project((self.config.out,), ("vision_mlp", "vision"), True, init_kind=self.init_kind, name="fc2")(x)


class VisionTower(nn.Module):
    """patches uint8[N, P, 3·patch²] in window order, grid int32[N, 2] -> (tokens[N, T, out] in raster order, valid).

    A depth of four equal groups is a scan over groups; any other depth (plain Qwen2.5-VL only) is unrolled.
    """

    config: VisionConfig
    taps: bool
    init_kind: str
    dtype: jnp.dtype
    remat: str = "none"
    kernels: Kernels = Kernels()
    unroll: bool = False

    @nn.compact
    def __call__(self, patches, grid):
        config = self.config
        images, budget, values = patches.shape
        place = placement(config, grid, budget)
        mean = np.repeat(np.float64(IMAGE_MEAN), config.patch**2)
        std = np.repeat(np.float64(IMAGE_STD), config.patch**2)
        # (x / 255 - mean) / std as one multiply-add
        pixels = patches.astype(jnp.float32) * np.float32(1 / (255 * std)) - np.float32(mean / std)
        kernel = self.param(
            "patch_embed", nn.with_logical_partitioning(kernel_init(self.init_kind, values), (None, None, "vision")),
            (2, values, config.width),
        )  # fmt: skip
        # Both temporal slices of a still image are equal, so their kernels add up.
        layout = Layout(self.kernels.mesh, self.kernels.rules)
        x = layout(pixels.astype(self.dtype) @ kernel.sum(axis=0).astype(self.dtype))

        angles = vision_angles(place.hw, config.width // config.heads)
        full = (jnp.cos(angles), jnp.sin(angles), place.valid)
        per_window = config.window_units**2 * config.merge**2
        windowed = tuple(a.reshape(images * budget // per_window, per_window, *a.shape[2:]) for a in full)
        full = (*full[:2], self.kernels.images(place.valid))
        if config.regular:
            scan = nn.scan(
                VisionGroup, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast,
                length=GROUPS, unroll=GROUPS if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
            )  # fmt: skip
            x, taps = scan(config, self.init_kind, self.remat, self.unroll, layout, name="groups")(x, (windowed, full))
        else:
            for index in range(config.depth):
                block = VisionBlock(config, self.init_kind, layout, name=f"block_{index}")
                if index in config.full_blocks:
                    x = block(x, *full)
                else:
                    x = block(x.reshape(*windowed[0].shape[:2], -1), *windowed).reshape(x.shape)
        if self.taps:
            x = Fusion(config.eps, name="fusion")(taps)
        tokens = layout(Merger(config, self.init_kind, name="merger")(x))
        return jnp.take_along_axis(tokens, place.raster[..., None], axis=1), place.token_valid
