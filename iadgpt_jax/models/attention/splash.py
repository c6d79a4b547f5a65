"""Attention on TPU by splash, JAX's block-sparse flash attention, exact for every rule of visibility.

The rule is cut into square tiles. Of each tile one is true: nobody sees anybody (the kernel passes over it: other
instances of a packed row, other lanes of a laned one, the future), everybody sees everybody (no mask is read), or it is
mixed (its bits are read). So shared references, their limits and packing cost what they must, up to a tile, in one
call: lanes need no second one merged by log-sum-exps, and no copy of the references per lane.

The kernel's usual way to hold a row per head is used to hold a row per (row, head): the whole batch is one call. The
tiles' bits take 4·S² bytes a row while a layer runs, the rule's, shared by all layers, 2·S² more.

Suffixes: B rows, S slots, H heads, K KV heads, D head width, n tiles per side, t slots per tile, N images, P patches.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.pallas.ops.tpu import splash_attention as library
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo
from jax.sharding import Mesh

from iadgpt_jax.models.attention.visibility import Visibility, sees
from iadgpt_jax.models.remat import CONTEXT
from iadgpt_jax.sharding import ShardingRules, parts

LANE = 128  # a TPU register's width: tiles are multiples of it
NOBODY, MIXED, EVERYBODY = 0, 1, 2  # the kernel's own numbers


class Setting(NamedTuple):
    """Where and how to run. Static."""

    mesh: Mesh | None
    rules: ShardingRules
    block: int
    interpret: bool

    def per_device(self, function, inputs, output, batch: int):
        """The function of one device's part; arrays are named by logical axes. A `batch` that does not divide by the
        devices, such as one row of references, is computed by every one of them."""
        if self.mesh is None or self.mesh.size == 1:
            return function
        rules = self.rules
        if batch % parts(self.mesh, rules.batch):
            rules = replace(rules, batch=None)
        specs = tuple(rules.spec(axes) for axes in inputs)
        # The kernel does not say along which axes its outputs vary, so that cannot be checked.
        return jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=rules.spec(output), check_vma=False)


def tiling(slots: int, block: int) -> tuple[int, int]:
    """(side of a tile, slots with padding): the least padding first, then the largest tile up to `block`."""
    if slots <= block:
        side = -(-slots // LANE) * LANE
        return side, side
    sides = range(block, max(block // 2, LANE) - 1, -LANE)
    padded, side = min((-(-slots // side) * side, -side) for side in sides)
    return -side, padded


@struct.dataclass
class SplashRows:
    """A batch of rows in square tiles. bits bool[B, n, n, t, t] (query slot, key slot), kinds int32[B, n, n]."""

    bits: jax.Array
    kinds: jax.Array
    setting: Setting = struct.field(pytree_node=False)

    def __call__(self, q, k, v):
        """q[B, S, H, D], k and v[B, S, K, D] -> [B, S, H, D]."""
        queries, keys = ("batch", None, "heads", None), ("batch", None, "kv", None)
        tiles = ("batch", None, None, None, None), ("batch", None, None)
        run = functools.partial(_rows, interpret=self.setting.interpret)
        per_device = self.setting.per_device(run, (queries, keys, keys, *tiles), queries, len(q))
        return per_device(q, k, v, self.bits, self.kinds)


def tiled(visibility: Visibility, setting: Setting) -> SplashRows:
    """Cut the rule into tiles. Slots added to fill the last tile are padding, which sees only padding."""
    batch, slots = visibility.segment.shape
    side, padded = tiling(slots, setting.block)
    more = ((0, 0), (0, padded - slots))
    order = jnp.broadcast_to(jnp.arange(padded, dtype=jnp.int32), (batch, padded))
    visibility = Visibility(*(jnp.pad(field, more) for field in visibility[:3]), order)
    count = padded // side
    bits = sees(visibility, visibility).reshape(batch, count, side, count, side).swapaxes(2, 3)
    some, every = bits.any(axis=(-2, -1)), bits.all(axis=(-2, -1))
    return SplashRows(bits, jnp.where(every, EVERYBODY, jnp.where(some, MIXED, NOBODY)).astype(jnp.int32), setting)


def _rows(q, k, v, bits, kinds, *, interpret):
    """One device's rows."""
    batch, slots, heads, width = q.shape
    side, count = bits.shape[-1], kinds.shape[-1]

    def per_head(x):
        """[B, S, H, D] -> [BH, S padded, D]."""
        x = jnp.pad(x, ((0, 0), (0, count * side - slots), (0, 0), (0, 0)))
        return x.swapaxes(1, 2).reshape(-1, count * side, width)

    attend = splash_attention_kernel.SplashAttentionKernel(
        _sparsity(bits, kinds, heads, axis=2), _sparsity(bits, kinds, heads, axis=2),
        _sparsity(bits.swapaxes(-2, -1), kinds, heads, axis=1), block_sizes=_blocks(side), is_mqa=False,
        save_residuals=False, mask_value=splash_attention_kernel.DEFAULT_MASK_VALUE, attn_logits_soft_cap=None,
        residual_checkpoint_name=CONTEXT, mask_function=None, interpret=interpret,
    )  # fmt: skip
    out = attend(per_head(_scaled(q)), per_head(k), per_head(v))
    return out.reshape(batch, heads, count * side, width).swapaxes(1, 2)[:, :slots]


def _sparsity(bits, kinds, heads: int, axis: int) -> MaskInfo:
    """What the kernel wants to know while it walks along `axis` of the tiles (2: keys, 1: queries).

    Where a tile is passed over, the data already loaded are named again, so that nothing is fetched for it.
    """
    place = jnp.broadcast_to(jnp.arange(kinds.shape[axis]).reshape((-1, 1) if axis == 1 else (1, -1)), kinds.shape)
    number = jnp.arange(kinds.size).reshape(kinds.shape)

    def per_head(x):
        return jnp.repeat(x.astype(jnp.int32), heads, axis=0)

    return MaskInfo(
        data_next=per_head(_held(place, kinds != NOBODY, axis)),
        mask_next=per_head(_held(number, kinds == MIXED, axis)),
        block_mask=per_head(kinds),
        partial_mask_blocks=bits.reshape(-1, *bits.shape[-2:]),
        q_sequence=None,
    )


def _held(values, wanted, axis: int):
    """The value at the last wanted place up to here along the axis, or at the first one to come, or 0."""
    before = jax.lax.cummax(jnp.where(wanted, values, -1), axis=axis)
    beyond = values.size
    after = jax.lax.cummin(jnp.where(wanted, values, beyond), axis=axis, reverse=True)
    return jnp.where(before >= 0, before, jnp.where(after < beyond, after, 0))


@struct.dataclass
class SplashImages:
    """Full attention inside each image: valid bool[N, P]. Patches that are none see each other; nobody reads them."""

    valid: jax.Array
    setting: Setting = struct.field(pytree_node=False)

    def __call__(self, q, k, v):
        """q, k, v[N, P, H, D] -> [N, P, H, D]."""
        axes = ("batch", None, "vision_heads", None)
        run = functools.partial(_images, block=self.setting.block, interpret=self.setting.interpret)
        return self.setting.per_device(run, (axes, axes, axes, ("batch", None)), axes, len(q))(q, k, v, self.valid)


def _images(q, k, v, valid, *, block, interpret):
    patches, heads = q.shape[1:3]
    side, padded = tiling(patches, block)
    q, k, v = (jnp.pad(x, ((0, 0), (0, padded - patches), (0, 0), (0, 0))).swapaxes(1, 2) for x in (_scaled(q), k, v))
    own = jnp.pad(valid, ((0, 0), (0, padded - patches))).astype(jnp.int32)
    everywhere = library.MultiHeadMask([library.FullMask((padded, padded)) for _ in range(heads)])
    attend = library.make_splash_mha_single_device(
        everywhere, block_sizes=_blocks(side), residual_checkpoint_name=CONTEXT, interpret=interpret
    )
    out = jax.vmap(attend)(q, k, v, library.SegmentIds(own, own))
    return out.swapaxes(1, 2)[:, :patches]


def _scaled(q):
    """The kernel takes logits as they come: q carries the scale, rounded once more to its dtype."""
    return (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)


def _blocks(side: int) -> library.BlockSizes:
    return library.BlockSizes(
        block_q=side, block_kv=side, block_kv_compute=side, block_q_dkv=side, block_kv_dkv=side,
        block_kv_dkv_compute=side, block_q_dq=side, block_kv_dq=side,
    )  # fmt: skip
