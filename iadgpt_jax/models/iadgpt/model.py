"""IADGPT: images and text in packed rows -> hidden states, answer logits and anomaly maps, in one forward pass.

Suffixes: B rows, S decoder slots, I image slots, P patches per image, C numbers per patch, N merged tokens per image,
M map queries per row, D head width, E decoder width, V vocabulary.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention import Kernels, Lanes
from iadgpt_jax.models.attention.plans import Prefill
from iadgpt_jax.models.iadgpt.compression import kept_tokens
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.iadgpt.fusion import Fusion
from iadgpt_jax.models.iadgpt.maps import KeywordRows, pooled
from iadgpt_jax.models.layers import Projections
from iadgpt_jax.models.qwen2_5_vl.language import Decoder, LayerInput
from iadgpt_jax.models.qwen2_5_vl.rope import mrope_angles
from iadgpt_jax.models.rows import Rows, visibility_of
from iadgpt_jax.sharding import ActivationSharding


class Outputs(NamedTuple):
    """hidden [B, S, E]; logit and probability maps float32[B, M, 2, N] (abnormal, normal), None without map queries."""

    hidden: jax.Array
    logit_maps: jax.Array | None
    probability_maps: jax.Array | None


class IADGPT(nn.Module):
    config: ModelConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"  # a policy of models/remat.py
    kernels: Kernels = Kernels()  # attention over whole rows and images
    unroll: bool = False  # layers written out instead of looped over: compiles longer, on CPU runs faster

    def setup(self):
        c = self.config
        project = Projections("fan_in" if c.init == "compare" else "qwen")
        self.vision = c.vision.tower(
            dtype=self.dtype, combine=functools.partial(Fusion, c.vision.eps) if c.taps else None, project=project,
            remat=self.remat, kernels=self.kernels, unroll=self.unroll,
        )  # fmt: skip
        pin = ActivationSharding(self.kernels.mesh, self.kernels.rules)
        self.language = Decoder(c.language, project, self.remat, self.unroll, pin)

    def encode_images(self, patches, grid):
        """Vision tower over row slots: uint8[B, I, P, C], int32[B, I, 2] -> tokens [B, I, N, E], bool[B, I, N]."""
        batch, images = patches.shape[:2]
        tokens, valid = self.vision(patches.reshape(-1, *patches.shape[2:]), grid.reshape(-1, 2))
        return tokens.reshape(batch, images, *tokens.shape[1:]), valid.reshape(batch, images, -1)

    def insert_images(self, tokens, valid, grid, keep, anchor, image_slot, image_token, text, positions):
        """Put kept image tokens into decoder slots: (embeddings [B, S, E], positions int32[3, B, S])."""
        batch, images, count, width = tokens.shape
        kept = jax.vmap(kept_tokens)(jax.lax.stop_gradient(tokens), valid, anchor, keep)
        slot = jnp.maximum(image_slot, 0)
        token = jnp.take_along_axis(kept.reshape(batch, -1), slot * count + image_token, axis=1)
        shown = jnp.take_along_axis(tokens.reshape(batch, -1, width), (slot * count + token)[..., None], axis=1)
        is_image = image_slot >= 0
        wide = jnp.maximum(jnp.take_along_axis(grid[..., 1], slot, axis=1), 1)
        offset = jnp.stack([jnp.zeros_like(token), token // wide, token % wide])
        positions = jnp.moveaxis(positions, 1, 0) + jnp.where(is_image, offset, 0)
        return jnp.where(is_image[..., None], shown, text), positions

    def __call__(self, rows: Rows, lanes: Lanes | None = None, maps: bool = True) -> Outputs:
        x, positions = self.embed(rows)
        plan = self.kernels.rows(visibility_of(rows), lanes)
        keywords = None
        if maps and self.config.taps:
            columns = jnp.arange(rows.patches.shape[2] // self.config.vision.merge**2)
            keywords = KeywordRows(rows.map_rows, rows.map_start, columns)
        cos, sin = self.rotation(positions)
        hidden, _, read = self.language(x, LayerInput(cos, sin, plan, keywords))
        return Outputs(hidden, None, None) if read is None else Outputs(hidden, *pooled(read, rows.map_weights))

    def embed(self, rows: Rows):
        """Everything before the decoder: (embeddings [B, S, E], positions int32[3, B, S])."""
        tokens, valid = self.encode_images(rows.patches, rows.grid)
        text = self.language.embed(rows.tokens, self.dtype)
        return self.insert_images(
            tokens, valid, rows.grid, rows.keep, rows.anchor, rows.image_slot, rows.image_token, text, rows.positions
        )

    def rotation(self, positions):
        """int32[3, B, S] -> cos, sin float32[B, S, D/2]."""
        c = self.config.language
        angles = mrope_angles(positions, c.head_width, c.rope_theta, c.mrope_section)
        return jnp.cos(angles), jnp.sin(angles)

    def prefill(self, rows: Rows):
        """Run rows and keep their keys and values: (hidden [B, S, E], (plain layers' caches or None, last ones'))."""
        x, positions = self.embed(rows)
        cos, sin = self.rotation(positions)
        plan = Prefill(self.kernels.rows(visibility_of(rows), None))
        hidden, kept, _ = self.language(x, LayerInput(cos, sin, plan))
        return hidden, kept

    def vocabulary(self):
        """The head's table, float32[V, E]."""
        return self.language.vocabulary()

    def logits(self, hidden):
        """hidden[..., E] -> float32[..., V]."""
        return self.language.logits(hidden)
