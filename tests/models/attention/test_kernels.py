"""Every attention kernel is the dense form: forward and gradient, in rows that are packed, shared and laned.

Splash runs in Pallas' interpreter, the cuDNN form with XLA's implementation of the same call.
Tolerance: an output is a mean of values around 1, a gradient a sum of up to S terms below 1, both compared with the
dense form in float32, relative to the largest entry. In float32 sums of 300 terms in another order round by √300 · 6e-8
≈ 1e-6. In bfloat16 q, k, v and the output's gradient are the same bfloat16 numbers on both sides; what is rounded
in between (q by its scale, weights, outputs) errs by 2⁻⁹ each, on logits of size 3 some 3 · 2⁻⁹: 2 % covers them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import Kernels, Lanes, Visibility, choose, sees
from iadgpt_jax.models.attention.cudnn import CudnnImages, CudnnLanes, CudnnRows
from iadgpt_jax.models.attention.dense import DenseImages, FlatRows, LanedRows, dense, lane_masks
from iadgpt_jax.models.attention.splash import tiling
from iadgpt_jax.sharding import ShardingRules, make_mesh

B, H, K, D = 2, 4, 2, 16
LANES = Lanes(96, ((2, 40), (1, 75)))
S = LANES.slots
TOLERANCE = {"float32": 5e-6, "bfloat16": 2e-2}


def shared(limits, lengths, starts, shared_at, shared_length, segment):
    """Slots of one instance: [(slot, segment, block, limit)]."""
    slots = [(shared_at + i, segment, 0, shared_at + shared_length) for i in range(shared_length)]
    for block, (limit, length, start) in enumerate(zip(limits, lengths, starts, strict=True), start=1):
        slots += [(start + i, segment, block, shared_at + limit) for i in range(length)]
    return slots


def visibility() -> Visibility:
    """Two instances whose blocks see a part of what they share, beside one of a single block; different rows."""
    rows = [
        shared((30, 60, 60), (33, 20, 60), (96, 136, 176), 0, 60, 1) + shared((0,), (17,), (156,), 60, 0, 2),
        shared((20,), (40,), (136,), 5, 50, 1) + shared((10, 35), (15, 70), (110, 176), 55, 35, 2),
    ]
    fields = np.zeros((3, B, S), np.int32)
    for row, slots in enumerate(rows):
        for slot, *values in slots:
            fields[:, row, slot] = values
    return Visibility(*fields, np.broadcast_to(np.arange(S, dtype=np.int32), (B, S)))


def inputs(dtype, seed=0, slots=S, kv=K):
    rng = np.random.default_rng(seed)
    shapes = [(B, slots, H, D), (B, slots, kv, D), (B, slots, kv, D), (B, slots, H, D)]
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def both_ways(kernel, q, k, v, toward):
    """(output, gradients of q, k, v)."""
    out, pull = jax.vjp(kernel, q, k, v)
    return out, *pull(toward.astype(out.dtype))


def assert_equal(ours, theirs, dtype, used):
    for name, a, b in zip(("out", "dq", "dk", "dv"), ours, theirs, strict=True):
        assert np.isfinite(a).all(), name
        a, b = a[used], b[used]
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * np.abs(b).max(), err_msg=name)


def reference(rule, q, k, v, toward):
    q, k, v, toward = (x.astype(jnp.float32) for x in (q, k, v, toward))
    return both_ways(lambda q, k, v: dense(q, k, v, rule), q, k, v, toward)


KERNELS = {
    "splash": lambda seen: Kernels("splash", block=128, interpret=True).rows(seen, LANES).kernel,
    "flat": lambda seen: FlatRows(sees(seen, seen), run=100),
    "laned": lambda seen: LanedRows(lane_masks(seen, LANES)),
    "cudnn": lambda seen: CudnnRows(sees(seen, seen), "xla"),
    "cudnn-laned": lambda seen: CudnnLanes(lane_masks(seen, LANES), "xla"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_with_shared_references_and_packing(kernel, dtype):
    """Slots that hold nothing are compared with nothing, but must be finite, and send no gradient anywhere."""
    seen = visibility()
    used = seen.segment > 0
    q, k, v, toward = inputs(dtype)
    toward = jnp.where(used[..., None, None], toward, 0)
    attend = jax.tree.map(jnp.asarray, KERNELS[kernel](seen))
    ours = jax.jit(lambda *x: both_ways(attend, *x))(q, k, v, toward)
    assert_equal([np.asarray(x, np.float32) for x in ours], reference(sees(seen, seen), q, k, v, toward), dtype, used)


@pytest.mark.parametrize("kernel", ["splash", "cudnn", "xla"])
def test_full_attention_inside_images(kernel):
    """Bidirectional over each image's own patches; an empty slot stays finite."""
    patches = 150
    valid = np.arange(patches) < np.array([[140], [0]])
    q, k, v, toward = inputs("float32", 1, patches, H)
    toward = jnp.where(valid[..., None, None], toward, 0)
    if kernel == "splash":
        attend = Kernels("splash", block=128, interpret=True).images(jnp.asarray(valid))
    elif kernel == "cudnn":
        attend = CudnnImages(jnp.asarray(valid), "xla")
    else:
        attend = DenseImages(jnp.asarray(valid))
    ours = jax.jit(lambda *x: both_ways(attend, *x))(q, k, v, toward)
    theirs = reference(np.broadcast_to(valid[:, None], (B, patches, patches)), q, k, v, toward)
    assert_equal([np.asarray(x) for x in ours], theirs, "float32", valid)


@pytest.mark.parametrize("rows", [2, 1])
def test_splash_on_a_mesh_is_splash_on_one_device(rows):
    """Rows over data, heads over tensor; a single row, such as one of references, is every device's."""
    seen = jax.tree.map(lambda x: x[:rows], visibility())
    mesh = make_mesh(2, 1, 2, devices=jax.devices()[:4])
    q, k, v, toward = (x[:rows] for x in inputs("float32"))
    alone, spread = (
        jax.jit(lambda *x, kernels=kernels: both_ways(kernels.rows(jax.tree.map(jnp.asarray, seen), None).kernel, *x))(
            q, k, v, toward
        )
        for kernels in (
            Kernels("splash", block=128, interpret=True), Kernels("splash", mesh, block=128, interpret=True)
        )
    )  # fmt: skip
    for a, b in zip(spread, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


def test_splash_passes_over_tiles_in_which_nobody_sees_anybody():
    """Of two instances of 256 slots in a row of 512, tiles of 128: six below the diagonal stay, four above it, and
    those between the instances are passed over."""
    segment = np.repeat([[1, 2]], 256, axis=1).astype(np.int32)
    zeros = np.zeros_like(segment)
    seen = Visibility(segment, zeros, zeros + 512, np.arange(512, dtype=np.int32)[None])
    plan = Kernels("splash", block=128).rows(jax.tree.map(jnp.asarray, seen), None)
    half = [[1, 0], [2, 1]]
    np.testing.assert_array_equal(plan.kernel.kinds[0], np.kron(np.eye(2, dtype=int), half))


def test_tiles_pad_least_first_and_are_large():
    assert tiling(4096, 512) == (512, 4096)
    assert tiling(3800, 512) == (384, 3840)
    assert tiling(200, 512) == (256, 256)


def test_a_kernel_is_chosen_by_platform_and_dtype():
    mesh, rules = make_mesh(1, 1, 1, devices=jax.devices()[:1]), ShardingRules()
    assert choose("auto", mesh, rules, jnp.bfloat16).kind == "xla"
    with pytest.raises(InputError, match="splash.*runs on TPU, these devices are cpu: choose auto"):
        choose("splash", mesh, rules, jnp.bfloat16)
    with pytest.raises(InputError, match="choose one of auto, xla, splash, cudnn"):
        choose("flash", mesh, rules, jnp.bfloat16)
