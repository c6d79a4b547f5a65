"""Qwen2.5's decoder with M-RoPE, scanned over groups of layers that each end in a tapped layer.

How a layer attends is a plan that it is given (models/attention/plans.py). The last layer of a group can be tapped:
what a model wants to read of its queries and keys is computed beside its attention and comes out of the scan.

Suffixes: B rows, S slots, H heads, K KV heads, D head width, E width, G groups, L layers per group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention.kv_cache import KVCache
from iadgpt_jax.models.layers import Projections, RMSNorm, SwiGLU
from iadgpt_jax.models.qwen2_5_vl.config import LanguageConfig
from iadgpt_jax.models.qwen2_5_vl.rope import rotate
from iadgpt_jax.models.remat import KEY, QUERY, RESIDUAL, VALUE, checkpoint_name, rematerialised
from iadgpt_jax.sharding import ActivationSharding


class LayerInput(NamedTuple):
    """What every layer reads: cos, sin float32[B, S, D/2], how to attend, and what the last layer of a group is tapped
    for (both as in models/attention/plans.py)."""

    cos: jax.Array
    sin: jax.Array
    plan: Callable
    tap: Callable | None = None


class Attention(nn.Module):
    config: LanguageConfig
    project: Projections = Projections()

    @nn.compact
    def __call__(self, x, inputs: LayerInput, cache: KVCache | None):
        c = self.config
        q = self.project((c.heads, c.head_width), ("embed", "heads", None), True, name="q")(x)
        k = self.project((c.kv_heads, c.head_width), ("embed", "kv", None), True, name="k")(x)
        v = self.project((c.kv_heads, c.head_width), ("embed", "kv", None), True, name="v")(x)
        q, k = rotate(q, inputs.cos, inputs.sin), rotate(k, inputs.cos, inputs.sin)
        q, k, v = checkpoint_name(q, QUERY), checkpoint_name(k, KEY), checkpoint_name(v, VALUE)
        out, stored, read = inputs.plan(q, k, v, cache, inputs.tap)
        return self.project((c.width,), ("heads", None, "embed"), inputs=2, name="out")(out), stored, read


class DecoderLayer(nn.Module):
    config: LanguageConfig
    project: Projections = Projections()
    pin: ActivationSharding = ActivationSharding()

    @nn.compact
    def __call__(self, x, inputs: LayerInput, cache: KVCache | None = None):
        c = self.config
        x = self.pin(x)
        out, stored, read = Attention(c, self.project, name="attention")(RMSNorm(c.eps, name="norm1")(x), inputs, cache)
        x = checkpoint_name(self.pin(x + out), RESIDUAL)
        x += SwiGLU(c.mlp, "embed", "mlp", project=self.project, name="mlp")(RMSNorm(c.eps, name="norm2")(x))
        return self.pin(x), (stored, read)


class DecoderGroup(nn.Module):
    """Layers of one group; only the last is tapped. Emits (plain layers' caches, last layer's cache, what was read)."""

    config: LanguageConfig
    project: Projections = Projections()
    remat: str = "none"
    unroll: bool = False
    pin: ActivationSharding = ActivationSharding()

    @nn.compact
    def __call__(self, x, inputs: LayerInput, cache: tuple[KVCache, KVCache] | None):
        layer = rematerialised(DecoderLayer, self.remat, prevent_cse=self.unroll)
        inner = self.config.depth // self.config.groups - 1
        plain_cache, last_cache = cache if cache is not None else (None, None)
        stored = None
        if inner:
            scan = nn.scan(
                layer, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=(nn.broadcast, 0),
                length=inner, unroll=inner if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
            )  # fmt: skip
            plain = scan(self.config, self.project, self.pin, name="plain")
            x, (stored, _) = plain(x, inputs._replace(tap=None), plain_cache)
        x, (last, read) = layer(self.config, self.project, self.pin, name="tapped")(x, inputs, last_cache)
        return x, (stored, last, read)


class Decoder(nn.Module):
    """Embeddings, the groups of layers, the final norm and the vocabulary head."""

    config: LanguageConfig
    project: Projections = Projections()
    remat: str = "none"
    unroll: bool = False
    pin: ActivationSharding = ActivationSharding()

    def setup(self):
        c = self.config
        table = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("vocab", "embed"))
        self.embedding = self.param("embedding", table, (c.vocab, c.width))
        if not c.tied:
            head = nn.with_logical_partitioning(self.project.initializer(c.width), ("vocab", "embed"))
            self.head = self.param("head", head, (c.vocab, c.width))
        self.groups = nn.scan(
            DecoderGroup, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=(nn.broadcast, 0),
            length=c.groups, unroll=c.groups if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
        )(c, self.project, self.remat, self.unroll, self.pin)  # fmt: skip
        self.norm = RMSNorm(c.eps)

    def embed(self, tokens, dtype):
        """int32[...] -> dtype[..., E]."""
        # Every device looks up all tokens in its part of the table, then the parts are exchanged: far less to send than
        # the table.
        x = self.pin(jnp.take(self.embedding, tokens, axis=0).astype(dtype), *(None,) * tokens.ndim, "embed")
        return self.pin(x)

    def __call__(self, x, inputs: LayerInput, cache=None):
        """x[B, S, E] -> (normed hidden [B, S, E], kept caches (plain layers [G, L - 1, …], last ones [G, …]) or Nones,
        what the tap read [G, …] or None). cache: of a prefix, as it was kept."""
        x, (plain, last, read) = self.groups(x, inputs, cache)
        return self.norm(x), (plain, last), read

    def vocabulary(self):
        """The head's table, float32[V, E]."""
        return self.embedding if self.config.tied else self.head

    def logits(self, hidden):
        """hidden[..., E] -> float32[..., V]."""
        table = self.vocabulary().astype(hidden.dtype)
        return jnp.einsum("...e,ve->...v", hidden, table, preferred_element_type=jnp.float32)
