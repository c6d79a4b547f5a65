"""IADGPT: images and text in packed rows -> hidden states, answer logits and anomaly maps, in one forward pass.

Suffixes: B rows, S decoder slots, I image slots, P patches per image, N merged tokens per image, M map queries per
row, R keyword rows per map query, A answer targets per row, E decoder width, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention import Kernels, Lanes, Visibility
from iadgpt_jax.models.attention.cached import Keep
from iadgpt_jax.models.iadgpt.compression import kept_tokens
from iadgpt_jax.models.qwen2_5_vl.config import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.language import Decoder, LayerInput, MapRows
from iadgpt_jax.models.qwen2_5_vl.rope import mrope_angles
from iadgpt_jax.models.qwen2_5_vl.vision import VisionTower
from iadgpt_jax.sharding import Layout


class Rows(NamedTuple):
    """A batch of packed rows; numpy on the host, sharded arrays on devices. All shapes are static.

    Text: tokens, segment, block, limit int32[B, S] (see models/attention.py), positions int32[B, 3, S] (an image token
    carries its image's origin; row and column are added once it is known which tokens were kept).
    Images: patches uint8[B, I, P, 3·patch²], grid int32[B, I, 2] merged tokens high and wide (0: empty slot),
    keep int32[B, I] tokens kept, anchor int32[B, I] slot of the first reference,
    image_slot int32[B, S] (-1: text), image_token int32[B, S] which of the kept tokens stands here.
    Maps: map_rows int32[B, M, R], map_weights float32[B, M, 2, R] (abnormal, normal; each sums to 1, or 0 where
    unused), map_start int32[B, M], masks uint8[B, M, h, w], map_valid float32[B, M].
    Targets: target_slots, target_ids int32[B, A], target_weights float32[B, A]: the slot whose hidden state predicts
    the id. answer_slots int32[B, M]: the slot that predicts the first answer token of a detection question.
    """

    tokens: jax.Array
    segment: jax.Array
    block: jax.Array
    limit: jax.Array
    positions: jax.Array
    patches: jax.Array
    grid: jax.Array
    keep: jax.Array
    anchor: jax.Array
    image_slot: jax.Array
    image_token: jax.Array
    map_rows: jax.Array
    map_weights: jax.Array
    map_start: jax.Array
    map_valid: jax.Array
    masks: jax.Array
    target_slots: jax.Array
    target_ids: jax.Array
    target_weights: jax.Array
    answer_slots: jax.Array


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
        self.vision = VisionTower(c.vision, c.taps, c.init, self.dtype, self.remat, self.kernels, self.unroll)
        layout = Layout(self.kernels.mesh, self.kernels.rules)
        self.language = Decoder(c.language, c.init, self.remat, self.unroll, layout)

    def see(self, patches, grid):
        """Vision tower over row slots: uint8[B, I, P, C], int32[B, I, 2] -> tokens [B, I, N, E], bool[B, I, N]."""
        batch, images = patches.shape[:2]
        tokens, valid = self.vision(patches.reshape(-1, *patches.shape[2:]), grid.reshape(-1, 2))
        return tokens.reshape(batch, images, *tokens.shape[1:]), valid.reshape(batch, images, -1)

    def place_images(self, tokens, valid, grid, keep, anchor, image_slot, image_token, text, positions):
        """Put kept image tokens into decoder slots: (embeddings [B, S, E], positions int32[3, B, S])."""
        batch, images, count, width = tokens.shape
        kept = jax.vmap(kept_tokens)(jax.lax.stop_gradient(tokens), valid, anchor, keep)
        slot = jnp.maximum(image_slot, 0)
        token = jnp.take_along_axis(kept.reshape(batch, -1), slot * count + image_token, axis=1)
        seen = jnp.take_along_axis(tokens.reshape(batch, -1, width), (slot * count + token)[..., None], axis=1)
        is_image = image_slot >= 0
        wide = jnp.maximum(jnp.take_along_axis(grid[..., 1], slot, axis=1), 1)
        offset = jnp.stack([jnp.zeros_like(token), token // wide, token % wide])
        positions = jnp.moveaxis(positions, 1, 0) + jnp.where(is_image, offset, 0)
        return jnp.where(is_image[..., None], seen, text), positions

    def __call__(self, rows: Rows, lanes: Lanes | None = None, maps: bool = True) -> Outputs:
        x, positions = self.embed(rows)
        visibility = visibility_of(rows)
        plan = self.kernels.rows(visibility, lanes)
        map_rows = None
        if maps and self.config.taps:
            columns = jnp.arange(rows.patches.shape[2] // self.config.vision.merge**2)
            map_rows = MapRows(rows.map_rows, rows.map_start, visibility, columns)
        cos, sin = self.rotation(positions)
        hidden, _, read = self.language(x, LayerInput(cos, sin, plan, map_rows))
        if read is None:
            return Outputs(hidden, None, None)
        # Mean over sub-tokens and words by the host's weights, then over the four layers.
        pooled = (jnp.einsum("gbmrn,bmcr->bmcn", field, rows.map_weights) / field.shape[0] for field in read)
        return Outputs(hidden, *pooled)

    def embed(self, rows: Rows):
        """Everything before the decoder: (embeddings [B, S, E], positions int32[3, B, S])."""
        tokens, valid = self.see(rows.patches, rows.grid)
        text = self.language.embed(rows.tokens, self.dtype)
        return self.place_images(
            tokens, valid, rows.grid, rows.keep, rows.anchor, rows.image_slot, rows.image_token, text, rows.positions
        )

    def rotation(self, positions):
        """int32[3, B, S] -> cos, sin float32[B, S, D/2]."""
        c = self.config.language
        angles = mrope_angles(positions, c.head_width, c.rope_theta, c.mrope_section)
        return jnp.cos(angles), jnp.sin(angles)

    def prefill(self, rows: Rows):
        """Run rows and keep their keys and values: (hidden [B, S, E], (plain layers' cache or None, last layers'))."""
        x, positions = self.embed(rows)
        visibility = visibility_of(rows)
        cos, sin = self.rotation(positions)
        hidden, kept, _ = self.language(x, LayerInput(cos, sin, Keep(self.kernels.rows(visibility, None))))
        return hidden, kept

    def vocabulary(self):
        """The head's table, float32[V, E]."""
        return self.language.vocabulary()

    def logits(self, hidden):
        """hidden[..., E] -> float32[..., V]."""
        return self.language.logits(hidden)


def visibility_of(rows: Rows) -> Visibility:
    order = jnp.broadcast_to(jnp.arange(rows.tokens.shape[1], dtype=jnp.int32), rows.tokens.shape)
    return Visibility(rows.segment, rows.block, rows.limit, order)


def take_slots(hidden, slots):
    """hidden[B, S, E] at slots int32[B, A] -> [B, A, E]."""
    return jnp.take_along_axis(hidden, slots[..., None], axis=1)
