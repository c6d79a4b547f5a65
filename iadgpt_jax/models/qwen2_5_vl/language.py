"""Qwen2.5's decoder with M-RoPE, scanned over groups of layers that each end in a tapped layer.

The last layer of a group can compute, beside its attention, the few attention rows from which anomaly maps are made
(DESIGN.md §4); the rest of the S×S matrix never exists. The same layers keep keys and values and read kept ones.

Suffixes: B rows, S slots, H heads, K KV heads, D head width, E width, G groups, L layers per group, T slots attended
to, M map queries per row, R keyword rows per map query, N query-image tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from iadgpt_jax.models.attention import MASKED, LaneMasks, Visibility, attend, cached, prefixed, sees
from iadgpt_jax.models.attention.cached import Cache
from iadgpt_jax.models.layers import Project, RMSNorm, SwiGLU, kernel_init
from iadgpt_jax.models.qwen2_5_vl.config import LanguageConfig
from iadgpt_jax.models.qwen2_5_vl.rope import rotate
from iadgpt_jax.models.remat import KEY, QUERY, RESIDUAL, VALUE, name, rematerialised
from iadgpt_jax.sharding import Layout


class MapRows(NamedTuple):
    """Where maps are read: rows int32[B, M, R] keyword slots, start int32[B, M] first slot of the query image's N
    tokens, visibility of the whole row (None after a prefix, where lanes see themselves causally). `tokens` N is
    static, carried by the shape of `columns` int32[N] = 0..N-1."""

    rows: jax.Array
    start: jax.Array
    visibility: Visibility | None
    columns: jax.Array


class LayerInput(NamedTuple):
    """What every layer reads: cos, sin float32[B, S, D/2] and how to attend. To the row itself by a plan of
    models/attention/kernels.py (a mask bool[B, S, T], say), or with its keys and values kept; to what was kept, of a
    prefix or step by step."""

    cos: jax.Array
    sin: jax.Array
    attend: jax.Array | LaneMasks | Callable | cached.Keep | prefixed.AfterPrefix | cached.Step
    maps: MapRows | None = None


def keyword_rows(q, k, maps: MapRows):
    """Attention of keyword rows to the query image. q[B, S, H, D], k[B, S, K, D] after rotation.

    Returns (logits, probabilities), each float32[B, M, R, N], the mean over heads of q·k/√D and of its softmax over
    everything the row sees (paper eq. 5's A^l, before the mean over keywords and layers).
    """
    batch, queries, rows = maps.rows.shape
    width = q.shape[3]
    flat = maps.rows.reshape(batch, -1)
    q_rows = jnp.take_along_axis(q, flat[..., None, None], axis=1)
    q_rows = q_rows.reshape(batch, queries * rows, k.shape[2], -1, width)
    logits = jnp.einsum("brkgd,btkd->bkgrt", q_rows, k, preferred_element_type=jnp.float32) * width**-0.5
    visible = sees(maps.visibility.take(flat), maps.visibility)[:, None, None]
    total = jax.nn.logsumexp(jnp.where(visible, logits, MASKED), axis=-1, keepdims=True)
    columns = (maps.start[..., None] + maps.columns).reshape(batch, 1, 1, queries, 1, -1)
    logits = logits.reshape(batch, k.shape[2], -1, queries, rows, k.shape[1])
    # The N columns of an unused query, or past an image below the budget, may lie outside the row or be invisible to
    # it. Nothing reads them, but they must stay finite (infinity times a weight of 0 is NaN): hence clip and minimum.
    at_image = jnp.take_along_axis(logits, columns, axis=-1, mode="clip")
    probability = jnp.exp(jnp.minimum(at_image - total.reshape(*logits.shape[:-1], 1), 0.0))
    return at_image.mean(axis=(1, 2)), probability.mean(axis=(1, 2))


class Attention(nn.Module):
    config: LanguageConfig
    init_kind: str

    @nn.compact
    def __call__(self, x, inputs: LayerInput, cache: Cache | None):
        c = self.config
        q = Project((c.heads, c.head_width), ("embed", "heads", None), True, init_kind=self.init_kind, name="q")(x)
        k = Project((c.kv_heads, c.head_width), ("embed", "kv", None), True, init_kind=self.init_kind, name="k")(x)
        v = Project((c.kv_heads, c.head_width), ("embed", "kv", None), True, init_kind=self.init_kind, name="v")(x)
        q, k = rotate(q, inputs.cos, inputs.sin), rotate(k, inputs.cos, inputs.sin)
        q, k, v = name(q, QUERY), name(k, KEY), name(v, VALUE)
        how = inputs.attend
        if isinstance(how, prefixed.AfterPrefix):
            out, maps = prefixed.read(q, k, v, cache.keys[0], cache.values[0], how, inputs.maps)
            return self._out(out), None, maps
        if isinstance(how, cached.Step):
            out, stored = cached.attend(q, k, v, cache, how)
            return self._out(out), stored, None
        maps = keyword_rows(q, k, inputs.maps) if inputs.maps is not None else None
        stored = None
        if isinstance(how, cached.Keep):
            how, stored = how.plan, Cache(k, v)
        return self._out(attend(q, k, v, how)), stored, maps

    def _out(self, attended):
        axes = ("heads", None, "embed")
        return Project((self.config.width,), axes, inputs=2, init_kind=self.init_kind, name="out")(attended)


class DecoderLayer(nn.Module):
    config: LanguageConfig
    init_kind: str
    layout: Layout = Layout()

    @nn.compact
    def __call__(self, x, inputs: LayerInput, cache: Cache | None = None):
        c = self.config
        x = self.layout(x)
        out, stored, maps = Attention(c, self.init_kind, name="attention")(
            RMSNorm(c.eps, name="norm1")(x), inputs, cache
        )
        x = name(self.layout(x + out), RESIDUAL)
        x += SwiGLU(c.mlp, "embed", "mlp", init_kind=self.init_kind, name="mlp")(RMSNorm(c.eps, name="norm2")(x))
        return self.layout(x), (stored, maps)


class DecoderGroup(nn.Module):
    """Layers of one group; only the last computes maps. Emits (plain layers' caches, last layer's cache, maps)."""

    config: LanguageConfig
    init_kind: str
    remat: str
    unroll: bool = False
    layout: Layout = Layout()

    @nn.compact
    def __call__(self, x, inputs: LayerInput, cache: tuple[Cache, Cache] | None):
        layer = rematerialised(DecoderLayer, self.remat, prevent_cse=self.unroll)
        inner = self.config.depth // self.config.groups - 1
        plain_cache, last_cache = cache if cache is not None else (None, None)
        stored = None
        if inner:
            scan = nn.scan(
                layer, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=(nn.broadcast, 0),
                length=inner, unroll=inner if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
            )  # fmt: skip
            plain = scan(self.config, self.init_kind, self.layout, name="plain")
            x, (stored, _) = plain(x, inputs._replace(maps=None), plain_cache)
        x, (last, maps) = layer(self.config, self.init_kind, self.layout, name="tapped")(x, inputs, last_cache)
        return x, (stored, last, maps)


class Decoder(nn.Module):
    """Embeddings, the groups of layers, the final norm and the vocabulary head."""

    config: LanguageConfig
    init_kind: str
    remat: str = "none"
    unroll: bool = False
    layout: Layout = Layout()

    def setup(self):
        c = self.config
        table = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("vocab", "embed"))
        self.embedding = self.param("embedding", table, (c.vocab, c.width))
        if not c.tied:
            head = nn.with_logical_partitioning(kernel_init(self.init_kind, c.width), ("vocab", "embed"))
            self.head = self.param("head", head, (c.vocab, c.width))
        self.groups = nn.scan(
            DecoderGroup, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=(nn.broadcast, 0),
            length=c.groups, unroll=c.groups if self.unroll else 1, metadata_params={nn.PARTITION_NAME: None},
        )(c, self.init_kind, self.remat, self.unroll, self.layout)  # fmt: skip
        self.norm = RMSNorm(c.eps)

    def embed(self, tokens, dtype):
        """int32[...] -> dtype[..., E]."""
        # Every device looks up all tokens in its part of the table, then the parts are exchanged: far less to send than
        # the table.
        x = self.layout(jnp.take(self.embedding, tokens, axis=0).astype(dtype), *(None,) * tokens.ndim, "embed")
        return self.layout(x)

    def __call__(self, x, inputs: LayerInput, cache=None):
        """x[B, S, E] -> (normed hidden [B, S, E], kept (plain layers [G, L - 1, …], last ones [G, …]) or Nones, maps:
        pair of float32[G, B, M, R, N] or None). cache: of a prefix, as it was kept."""
        x, (plain, last, maps) = self.groups(x, inputs, cache)
        return self.norm(x), (plain, last), maps

    def vocabulary(self):
        """The head's table, float32[V, E]."""
        return self.embedding if self.config.tied else self.head

    def logits(self, hidden):
        """hidden[..., E] -> float32[..., V]."""
        table = self.vocabulary().astype(hidden.dtype)
        return jnp.einsum("...e,ve->...v", hidden, table, preferred_element_type=jnp.float32)
