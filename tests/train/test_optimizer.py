"""What trains and what is frozen, the learning rate of every step, and what weight decay touches."""

from __future__ import annotations

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.stage3 import VIT
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from iadgpt_jax.models.registry import logical_axes
from iadgpt_jax.sharding import ShardingRules, make_mesh
from iadgpt_jax.train.optimizer import (
    join_params,
    make_optimizer,
    multiple_of_rate,
    patterns_without_parameters,
    schedule,
    split_params,
)
from iadgpt_jax.train.state import TrainState, create, state_shardings
from iadgpt_jax.train.step import make_train_step, reporting
from tests.small_iadgpt import BUDGET, QUICK, inspection, lively_params, small_encoder

SETTINGS = dict(b1=0.9, b2=0.98, weight_decay=0.05, clip=1.0)


def moments_of(trained, state) -> list[dict]:
    """The parts of an optimizer's state that are dicts like the trained parameters."""

    def alike(node):
        return isinstance(node, dict) and node.keys() == trained.keys()

    return [part for part in jax.tree.leaves(state, is_leaf=alike) if alike(part)]


@pytest.fixture(scope="module")
def params():
    return lively_params(small_encoder().config)


@pytest.fixture(scope="module")
def stepped(params):
    """(state before, state after, metrics) of one step that freezes what stage 3 freezes."""
    config = small_encoder().config
    optimizer = make_optimizer(schedule(1e-2, 10, 2, 0.0), **SETTINGS)
    before = create(jax.tree.map(jnp.asarray, params), VIT, optimizer)
    shape = RowShape(slots=320, images=6, patches=BUDGET, maps=3, keyword_rows=8, targets=32, mask_side=16)
    rows = pack([small_encoder()(inspection(0))], 1, shape, config.vision).rows
    step = make_train_step(AnswersAndMaps(IADGPT(config), None, LossWeights(), "logit"), optimizer)
    after, metrics = jax.jit(step, compiler_options=QUICK)(before, rows)
    return before, after, metrics


def test_stage_3_freezes_the_vit_blocks_and_trains_gates_merger_and_decoder(params):
    trained, frozen = split_params(params, VIT)
    assert {path.split("/")[1] for path in frozen} == {"groups", "patch_embed"}
    assert all(path.startswith("vision/") for path in frozen)
    assert any(path.startswith("vision/fusion/gates") for path in trained)
    assert any(path.startswith("vision/merger/") for path in trained)
    assert any(path.startswith("language/") for path in trained)


def test_split_and_join_are_inverse(params):
    joined = join_params(*split_params(params, "mlp"))
    assert jax.tree.structure(joined) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, joined, params)


def test_frozen_leaves_have_no_optimizer_state_and_stay_bit_for_bit(stepped):
    before, after, metrics = stepped
    assert len(moments_of(before.trained, before.optimizer)) == 2  # first and second
    keys = {key for at, _ in jax.tree.leaves_with_path(before.optimizer) for key in at}
    assert before.frozen and not keys & {jax.tree_util.DictKey(path) for path in before.frozen}
    for path, leaf in before.frozen.items():
        np.testing.assert_array_equal(leaf, after.frozen[path])
    for path, leaf in before.trained.items():
        assert not np.array_equal(leaf, after.trained[path]), f"{path} did not train"
    assert int(after.step) == 1 and float(metrics["gradient_norm"]) > 0


@pytest.mark.parametrize(
    ("frozen", "message"),
    [("vision/(", "not a regular"), (".", "freezes every"), ("(vision|language)/", "freezes every")],
)
def test_a_bad_freezing_expression_is_an_input_error(params, frozen, message):
    with pytest.raises(InputError, match=message):
        split_params(params, frozen)


@pytest.mark.parametrize("steps,warmup,floor", [(20, 5, 0.05), (20, 0, 0.0), (7, 100, 0.1), (1, 30, 0.0), (50, 1, 0.2)])
def test_the_schedule_is_a_line_and_a_cosine(steps, warmup, floor):
    rate, peak = schedule(3e-3, steps, warmup, floor), 3e-3
    warmup = min(warmup, steps - 1)
    for step in range(steps):
        if step < warmup:
            expected = peak * (1 + step * (warmup - 1) / warmup) / warmup
        else:
            part = (step - warmup) / max(steps - warmup, 1)
            expected = peak * (floor + (1 - floor) * (1 + np.cos(np.pi * part)) / 2)
        np.testing.assert_allclose(float(rate(step)), expected, rtol=1e-5, err_msg=f"step {step}")


def test_a_step_reports_its_rate_and_the_gates():
    """The rate it used, and the values it left; of a frozen parameter too."""
    rate = schedule(1e-2, 10, 2, 0.0)
    gates = jnp.array([0.1, -0.2, 0.3])

    def plain(state, rows):
        return state._replace(step=state.step + 1, trained={"fusion/gates": 2 * gates}), {"loss": rows.sum()}

    step = reporting(plain, rate, {"gate": "fusion/gates$", "scale": "norm/scale$", "none": "nowhere"})
    state = TrainState(jnp.int32(3), {"fusion/gates": gates}, {"norm/scale": jnp.ones(1)}, None)
    _, metrics = jax.jit(step)(state, jnp.zeros(2))
    assert float(metrics["learning_rate"]) == pytest.approx(float(rate(3)))
    assert [float(metrics[f"gate/{i}"]) for i in range(3)] == pytest.approx([0.2, -0.4, 0.6])
    assert float(metrics["scale/0"]) == 1 and set(metrics) == {
        "loss", "learning_rate", "gate/0", "gate/1", "gate/2", "scale/0",
    }  # fmt: skip
    with pytest.raises(InputError, match="log_parameters.all finds more than 64"):
        reporting(plain, rate, {"all": "."})(state._replace(frozen={"kernel": jnp.ones(65)}), jnp.zeros(2))


GATES = {"gates": {"pattern": "fusion/gates$", "rate": 100.0}, "all": {"pattern": ".", "rate": 2.0}}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_groups_train_at_a_multiple_of_the_rate(params, kind):
    """The first group that finds a parameter says at which; frozen ones are in none."""
    trained, _ = split_params(params, VIT)
    trained = {path: jnp.asarray(leaf) for path, leaf in trained.items()}
    gradients = {path: jnp.ones_like(leaf) for path, leaf in trained.items()}

    def update(groups):
        optimizer = make_optimizer(lambda step: 1e-3, kind=kind, **SETTINGS, groups=groups)
        return jax.jit(lambda: optimizer.update(gradients, optimizer.init(trained), trained)[0])()

    plain, grouped = update({}), update(GATES)
    for path in trained:
        multiple = 100 if path.endswith("fusion/gates") else 2
        np.testing.assert_allclose(grouped[path], multiple * plain[path], rtol=1e-6, err_msg=path)


def test_gates_get_somewhere_within_a_stage():
    """Over stage 3 at full size, against one gradient that keeps its sign: at the rate of all they would stay below
    .02."""
    config = importlib.import_module("configs.stage3").get_config("7b")
    rate = schedule(config.optimizer.rate, config.steps, config.optimizer.warmup, config.optimizer.floor)
    way = float(jax.vmap(rate)(jnp.arange(config.steps)).sum())  # AdamW's update is the rate, at most
    multiple = multiple_of_rate(config.optimizer.groups)
    assert multiple("vision/fusion/gates") * way > 1 and multiple("language/embedding") * way < 0.02


def test_a_bad_group_is_an_input_error():
    with pytest.raises(InputError, match="config.optimizer.groups.gates.pattern is not a regular expression"):
        make_optimizer(lambda step: 1.0, **SETTINGS, groups={"gates": {"pattern": "(", "rate": 2.0}})


def test_patterns_that_find_no_parameter_are_named(params):
    """A typing error in what is frozen would otherwise train the ViT, and nobody would know."""
    paths = {**split_params(params, "")[0]}
    config = importlib.import_module("configs.stage3").get_config("7b")
    assert patterns_without_parameters(config, paths) == []
    config.frozen, config.optimizer.groups.gates.pattern = "^visoin/groups", "fusion/gate$"
    assert patterns_without_parameters(config, paths) == ["config.frozen", "config.optimizer.groups.gates.pattern"]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_weight_decay_touches_matrices_only(params, kind):
    """With a gradient of zero an update is decay alone."""
    trained, _ = split_params(params, "")
    trained = {path: np.ones_like(leaf) for path, leaf in trained.items()}
    optimizer = make_optimizer(lambda step: 1.0, kind=kind, **SETTINGS)
    updates, _ = jax.jit(lambda ones: optimizer.update(jax.tree.map(jnp.zeros_like, ones), optimizer.init(ones), ones))(
        trained
    )
    decayed = {path for path, update in updates.items() if np.any(update)}
    spared = trained.keys() - decayed
    assert {path.rsplit("/")[-1] for path in decayed} == {"kernel", "embedding", "patch_embed"}
    assert {path.rsplit("/")[-1] for path in spared} == {"bias", "scale", "gates"}
    for path in decayed:
        np.testing.assert_allclose(updates[path], -SETTINGS["weight_decay"])


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_moment_lies_as_its_parameter(params, kind):
    """On a mesh, whatever the optimizer keeps of a parameter is split like it."""
    config, mesh = small_encoder().config, make_mesh(1, 4, 2)
    optimizer = make_optimizer(lambda step: 1.0, kind=kind, **SETTINGS, groups=GATES)
    shapes = jax.eval_shape(lambda: create(jax.tree.map(jnp.asarray, params), VIT, optimizer))
    shardings = state_shardings(mesh, ShardingRules(), logical_axes(config), shapes)
    assert jax.tree.structure(shardings) == jax.tree.structure(shapes)
    moments = moments_of(shapes.trained, shardings.optimizer)
    kept = {path: [m[path] for m in moments if not isinstance(m[path], optax.MaskedNode)] for path in shapes.trained}
    for path, sharding in shardings.trained.items():
        assert kept[path] and all(moment == sharding for moment in kept[path]), path


def test_an_unknown_optimizer_is_an_input_error():
    with pytest.raises(InputError, match="'lion': choose adamw or muon"):
        make_optimizer(lambda step: 1.0, kind="lion", **SETTINGS)


def test_moments_can_be_kept_in_bfloat16(params):
    trained, _ = split_params(params, "")
    state = make_optimizer(lambda step: 1.0, **SETTINGS, moments="bfloat16").init(trained)
    first, second = moments_of(trained, state)
    assert {leaf.dtype for leaf in first.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in second.values()} == {jnp.dtype("float32")}
