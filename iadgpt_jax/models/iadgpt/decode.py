"""One new token of every answer through the decoder, layer by layer against its cache.

Decoding reads every weight once per token, so nothing may be copied on the way: layers stand apart here, not stacked as
the scan over layers wants them, and each writes its two new slots into a cache that stays in place.

Suffixes: B rows, M answers per row, T cache slots, E width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention.kv_cache import DecodeStep, KVCache, with_room
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.positions import text_position
from iadgpt_jax.models.qwen2_5_vl.config import LanguageConfig
from iadgpt_jax.models.qwen2_5_vl.language import DecoderLayer, LayerInput


def apart(stacked: tuple, config: LanguageConfig) -> list:
    """(tree of the plain layers [G, L - 1, …] or None, of the last ones [G, …]) -> one tree per layer, in order."""
    plain, last = stacked
    trees = []
    for group in range(config.groups):
        for index in range(config.depth // config.groups - 1):
            trees.append(jax.tree.map(lambda leaf, at=(group, index): leaf[at], plain))
        trees.append(jax.tree.map(lambda leaf, at=group: leaf[at], last))
    return trees


def layers(config: ModelConfig, params: dict) -> list[dict]:
    """The parameters of every decoder layer."""
    groups = params["language"]["groups"]
    return apart((groups.get("plain"), groups["tapped"]), config.language)


def room_for(kept: tuple, config: ModelConfig, room: int) -> list[KVCache]:
    """What `IADGPT.prefill` kept, as caches with `room` slots for tokens to come."""
    return [with_room(cache, room) for cache in apart(kept, config.language)]


def step(
    model: IADGPT, params: dict, weights: Sequence[dict], tokens, positions, mask, write_at, caches: Sequence[KVCache]
) -> tuple[jax.Array, list[KVCache]]:
    """tokens, positions int32[B, M] in text; mask bool[B, M, T]; write_at int32[]: cache slot of the first new token.

    Returns (logits float32[B, M, V], caches with the new tokens in them).
    """
    c = model.config

    def apply(method, *arguments):
        return model.apply({"params": params}, *arguments, method=method)

    x = apply(lambda m, t: m.language.embed(t, m.dtype), tokens)
    cos, sin = apply(IADGPT.rotation, jnp.stack(text_position(c.positions, positions)))
    inputs = LayerInput(cos, sin, DecodeStep(mask, write_at))
    layer, stored = DecoderLayer(c.language, c.projections()), []
    for weight, cache in zip(weights, caches, strict=True):
        x, (new, _) = layer.apply({"params": weight}, x, inputs, cache)
        stored.append(new)
    return apply(lambda m, h: m.logits(m.language.norm(h)), x), stored
