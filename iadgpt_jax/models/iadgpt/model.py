"""IADGPT: images and text in packed rows -> hidden states, answer logits and anomaly maps, in one forward pass.

Suffixes: B rows, S decoder slots, I image slots, P patches per image, C numbers per patch, N merged tokens per image,
M map queries per row, D head width, E decoder width, V vocabulary; Q queries, K shot counts.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention import Kernels, Lanes
from iadgpt_jax.models.attention.plans import Prefill
from iadgpt_jax.models.attention.prefixed import AfterPrefix
from iadgpt_jax.models.iadgpt.compression import kept_tokens
from iadgpt_jax.models.iadgpt.config import MAP_LAYERS, ModelConfig
from iadgpt_jax.models.iadgpt.fusion import Fusion
from iadgpt_jax.models.iadgpt.maps import KeywordRows, pooled
from iadgpt_jax.models.iadgpt.places import Places
from iadgpt_jax.models.iadgpt.positions import text_position
from iadgpt_jax.models.qwen2_5_vl.language import Decoder, LayerInput
from iadgpt_jax.models.qwen2_5_vl.rope import mrope_angles
from iadgpt_jax.models.rows import Rows, take_slots, visibility_of
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
        project = c.projections()
        self.vision = c.vision.tower(
            dtype=self.dtype, combine=functools.partial(Fusion, c.vision.eps) if c.taps else None, project=project,
            remat=self.remat, kernels=self.kernels, unroll=self.unroll,
        )  # fmt: skip
        self.places = Places(c.language.width) if c.places else None
        pin = ActivationSharding(self.kernels.mesh, self.kernels.rules)
        self.language = Decoder(c.language, project, self.remat, self.unroll, pin)

    def encode_images(self, patches, grid):
        """Vision tower over row slots: uint8[B, I, P, C], int32[B, I, 2] -> tokens [B, I, N, E], bool[B, I, N]."""
        batch, images = patches.shape[:2]
        tokens, valid = self.vision(patches.reshape(-1, *patches.shape[2:]), grid.reshape(-1, 2))
        if self.places is not None:
            tokens += self.places(grid.reshape(-1, 2), tokens.shape[1], tokens.dtype)
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
        layers = MAP_LAYERS[self.config.map_layers]
        return Outputs(hidden, None, None) if read is None else Outputs(hidden, *pooled(read, rows.map_weights, layers))

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

    def after_prefix(self, cache, limits, starts, tokens, question):
        """Queries against references that were read before, a lane of the decoder per query and shot count K.

        cache: of `prefill`, one row. limits, starts int32[K]: how many of its slots a lane sees, and the text position
        where it goes on. tokens [Q, N, E]: of the query images. question: an infer/question.Question for every query.
        Returns (hidden [Q, K, E] where the answer is predicted, logit and probability maps float32[Q, K, N] of the
        abnormal words).
        """
        queries, count, width = tokens.shape
        shots = len(limits)
        is_image = question.image_token >= 0
        token = jnp.maximum(question.image_token, 0)
        x = self.language.embed(question.tokens, self.dtype)
        x = jnp.where(is_image[..., None], jnp.take_along_axis(tokens, token[..., None], axis=1), x)
        wide = question.grid[:, 1:]
        offset = jnp.stack([jnp.zeros_like(token), token // wide, token % wide], axis=1)
        positions = question.positions + jnp.where(is_image[:, None], offset, 0)  # [Q, 3, C]
        starts = jnp.stack(text_position(self.config.positions, starts), axis=-1)
        positions = positions[:, None] + starts[:, :, None]  # [Q, K, 3, C]
        cos, sin = self.rotation(jnp.moveaxis(positions.reshape(queries * shots, 3, -1), 1, 0))

        def lanes(values):
            return jnp.repeat(values, shots, axis=0)

        keywords = KeywordRows(lanes(question.map_rows)[:, None], lanes(question.map_start)[:, None], jnp.arange(count))
        plan = AfterPrefix(jnp.tile(limits, queries))
        hidden, _, read = self.language(lanes(x), LayerInput(cos, sin, plan, keywords), cache)
        hidden = take_slots(hidden, lanes(question.answer)[:, None]).reshape(queries, shots, width)
        maps = pooled(read, lanes(question.map_weights)[:, None, None], MAP_LAYERS[self.config.map_layers])
        return hidden, *(field.reshape(queries, shots, count) for field in maps)

    def vocabulary(self):
        """The head's table, float32[V, E]."""
        return self.language.vocabulary()

    def logits(self, hidden):
        """hidden[..., E] -> float32[..., V]."""
        return self.language.logits(hidden)
