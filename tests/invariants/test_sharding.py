"""A training step on any mesh of eight devices is the step on one device, and parameters really lie split.

Tolerance: sharding changes the order of float32 sums only; gradients are compared relative to the largest entry of a
leaf, with the rounding derived in tests/invariants/test_packing.py.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from iadgpt_jax.data.loader import put
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import Lanes, choose
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from iadgpt_jax.models.registry import logical_axes
from iadgpt_jax.sharding import ActivationSharding, ShardingRules, make_mesh, replicated, rows_sharding
from iadgpt_jax.train.optimizer import make_optimizer
from iadgpt_jax.train.state import create, state_shardings
from iadgpt_jax.train.step import make_train_step
from tests.small_iadgpt import BUDGET, QUICK, apart, inspection, lively_params, small_encoder

CONFIG = small_encoder().config
SHAPE = RowShape(
    slots=96 + 48 + 72, images=4, patches=BUDGET, maps=2, keyword_rows=8, targets=48, mask_side=16,
    lanes=Lanes(96, ((1, 48), (1, 72))),
)  # fmt: skip
RATE, B1 = 1e-2, 0.9
RULES = ShardingRules()
TOLERANCE = 2e-4  # of a leaf's largest gradient


@functools.cache
def prepared(data: int, fsdp: int, tensor: int):
    """(step, state, eight rows) on so many devices, with the shardings of launch/train.py."""
    mesh = make_mesh(data, fsdp, tensor, devices=jax.devices()[: data * fsdp * tensor])
    encodeds = [small_encoder()(one) for seed in range(4) for one in apart(inspection(seed, shots=(1,), ratio=0.4))]
    packed = pack(encodeds, 8, SHAPE, CONFIG.vision)
    assert None not in packed.where and len(encodeds) == 8
    optimizer = make_optimizer(lambda step: RATE, b1=B1, b2=0.98, weight_decay=0.05, clip=1.0)
    state = create(lively_params(CONFIG), "", optimizer)
    shardings = state_shardings(mesh, RULES, logical_axes(CONFIG), jax.eval_shape(lambda: state))
    batch_sharding = rows_sharding(mesh, RULES)
    model = IADGPT(CONFIG, kernels=choose("auto", mesh, RULES, np.float32))
    step = jax.jit(
        make_train_step(AnswersAndMaps(model, SHAPE.lanes, LossWeights(binary_focal=0.5), "probability"), optimizer),
        in_shardings=(shardings, batch_sharding),
        out_shardings=(shardings, replicated(mesh)),
        compiler_options=QUICK,
    )
    return step, jax.device_put(state, shardings), put(packed.rows, batch_sharding)


@functools.cache
def train_step(*sizes: int):
    """(state after, metrics) of one step."""
    step, state, rows = prepared(*sizes)
    after, metrics = step(state, rows)
    return after, {name: float(value) for name, value in metrics.items()}


def moments_of(state):
    """Adam's first and second moments, each a flat dict of parameter paths."""
    parts = jax.tree.leaves(state.optimizer, is_leaf=lambda x: isinstance(x, dict))
    return [part for part in parts if isinstance(part, dict)]


@pytest.mark.parametrize("sizes", [pytest.param((1, 1, 1), marks=pytest.mark.nightly), (8, 1, 1)], ids=str)
def test_the_same_step_again_is_the_same_to_the_bit(sizes):
    """Nothing in a step depends on which thread comes first (iadgpt_jax/cpu_reductions.py is why). Without it
    about one step in fourteen differs: thirty steps miss that once in nine runs, ten would in every second one."""
    step, state, rows = prepared(*sizes)
    expected = jax.device_get(step(state, rows))
    for _ in range(30):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(step(state, rows)), expected)


MESHES = [(8, 1, 1), (2, 2, 2), *(pytest.param(sizes, marks=pytest.mark.nightly) for sizes in ((2, 4, 1), (1, 4, 2)))]


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_a_step_on_eight_devices_is_the_step_on_one(sizes):
    expected, expected_metrics = train_step(1, 1, 1)
    after, metrics = train_step(*sizes)
    assert metrics.keys() == expected_metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(value, expected_metrics[name], rtol=2e-5, err_msg=name)
    moments, expected_moments = moments_of(after)[0], moments_of(expected)[0]
    for path, leaf in expected.trained.items():
        gradient, ours = np.asarray(expected_moments[path]), np.asarray(moments[path])
        largest = np.abs(gradient).max()
        assert largest > 0, f"{path} has no gradient"
        np.testing.assert_allclose(ours, gradient, rtol=0, atol=TOLERANCE * largest, err_msg=path)
        # Adam's first update is the gradient's sign, which rounding decides where the gradient all but vanishes.
        clear = np.abs(gradient) > 0.1 * largest
        moved = np.abs(np.asarray(after.trained[path]) - np.asarray(leaf))
        assert moved.max() <= 2.01 * RATE, path
        assert moved[clear].max() <= 0.01 * RATE, path
    _, before, _ = prepared(*sizes)
    for path, leaf in before.trained.items():
        assert after.trained[path].sharding.is_equivalent_to(leaf.sharding, leaf.ndim), f"{path} lies otherwise"


def test_parameters_and_moments_lie_split():
    """Shard shapes on (data, fsdp, tensor) = (1, 4, 2): widths by four, heads, MLP and vocabulary by two."""
    _, state, _ = prepared(1, 4, 2)
    expected = {
        "language/embedding": ((1536, 32), (768, 8)),
        "language/groups/tapped/attention/q/kernel": ((4, 32, 4, 8), (4, 8, 2, 8)),
        "language/groups/tapped/attention/k/kernel": ((4, 32, 2, 8), (4, 8, 1, 8)),
        "language/groups/tapped/attention/out/kernel": ((4, 4, 8, 32), (4, 2, 8, 8)),
        "language/groups/tapped/mlp/up/kernel": ((4, 32, 48), (4, 8, 24)),
        "language/groups/tapped/mlp/down/kernel": ((4, 48, 32), (4, 24, 8)),
        "language/groups/tapped/norm1/scale": ((4, 32), (4, 32)),
        "vision/merger/fc1/kernel": ((128, 128), (32, 64)),
        "vision/patch_embed": ((2, 588, 32), (2, 588, 8)),
        "vision/groups/window/block/attention/qkv/kernel": ((4, 1, 32, 3, 4, 8), (4, 1, 8, 3, 2, 8)),
    }
    moments = moments_of(state)
    assert len(moments) == 2
    for path, (whole, shard) in expected.items():
        for tree in (state.trained, *moments):
            assert tree[path].shape == whole, path
            assert {s.data.shape for s in tree[path].addressable_shards} == {shard}, path


def test_a_mesh_axis_splits_only_one_dimension():
    with pytest.raises(ValueError, match="only one dimension"):
        ShardingRules(mlp="fsdp").spec(("embed", "mlp"))
    with pytest.raises(ValueError, match="only one dimension"):
        ShardingRules().spec(("batch", "embed"))
    assert ShardingRules().spec(("embed", None, "heads")) == PartitionSpec("fsdp", None, "tensor")


def test_a_dimension_that_does_not_divide_is_refused_by_name():
    mesh = make_mesh(1, 2, 4)
    with pytest.raises(InputError, match="'kv' of size 2 does not divide by 4.*config.mesh"):
        RULES.sharding(mesh, ("embed", "kv", None), (32, 2, 8))
    assert RULES.sharding(mesh, ("embed", "heads", None), (32, 4, 8)).shard_shape((32, 4, 8)) == (16, 1, 8)


@pytest.mark.parametrize("sizes", [(3, 1, 1), (2, 2, 1), (-1, 3, 1), (4, 4, 4)], ids=str)
def test_a_mesh_must_cover_the_devices(sizes):
    with pytest.raises(InputError, match="does not cover 8 devices: set config.mesh"):
        make_mesh(*sizes)


def test_one_size_may_be_the_rest():
    assert dict(make_mesh(-1, 2, 2).shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert dict(make_mesh(1, -1, 2).shape) == {"data": 1, "fsdp": 4, "tensor": 2}


def test_activations_are_pinned_by_rows_where_they_divide():
    """On a mesh the layers' activations stay split by rows; without one, or where rows do not divide, nothing is."""
    mesh = make_mesh(1, 8, 1)
    layout = ActivationSharding(mesh, RULES)

    def placed(rows, *axes):
        x = jax.ShapeDtypeStruct((rows, 3, 16), np.float32, sharding=replicated(mesh))
        return jax.jit(lambda x: layout(2 * x, *axes)).lower(x).compile().output_shardings.shard_shape(x.shape)

    assert placed(8) == (1, 3, 16)
    assert placed(8, None, None, "embed") == (8, 3, 2)
    assert placed(4) == (4, 3, 16)
    x = np.ones((8, 3))
    assert ActivationSharding()(x) is x and ActivationSharding(make_mesh(1, 1, 1, jax.devices()[:1]))(x) is x
