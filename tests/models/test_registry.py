"""Another vision tower, and another model with another loss, are lines in tables: everything else runs as it is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.common import options_of
from configs.stage1 import get_config
from configs.stage3 import VIT
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.flops import step_flops
from iadgpt_jax.models import registry, vision_towers
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.iadgpt.entry import ENTRY
from iadgpt_jax.models.layers import Projections
from iadgpt_jax.models.registry import config_from_dict, config_to_dict, init_params, make_module, model_of, preset
from iadgpt_jax.sharding import ShardingRules, make_mesh
from iadgpt_jax.train.build import abstract_rows, build_training
from iadgpt_jax.train.model_options import with_options
from tests.convert.checkpoints import leaf_shapes
from tests.small_iadgpt import BUDGET, QUICK, inspection, lively_params, small_config, small_encoder

SHAPE = RowShape(slots=192, images=5, patches=BUDGET, maps=2, keyword_rows=8, targets=32, mask_side=16)


@dataclass(frozen=True)
class Flat:
    """A vision tower of one matrix over patches, without windows or levels."""

    out: int = 8
    colours: int = 3
    patch: int = 14
    merge: int = 2
    window: ClassVar[int] = 28
    eps: float = 1e-6
    patch_values: int = 588
    window_units: int = 1
    regular: bool = False

    def check(self, model):
        if self.out < 1:
            raise InputError(f"model {model!r}: out is {self.out}")

    def tower(self, *, dtype, project, **_):
        return FlatTower(self.out, dtype, project)

    def hub_names(self):
        yield "visual.flat.weight", "vision/patch_embed", (), "out pixels -> pixels out"

    def axis_sizes(self):
        return {"pixels": self.patch_values, "out": self.out}

    def flops(self, images, patches):
        parts = ("patch_embedding", "vision_window_attention", "vision_full_attention", "merger")
        return dict.fromkeys(parts, 0.0) | {"vision_blocks": 2.0 * images * patches * self.patch_values * self.out}


class FlatTower(nn.Module):
    out: int
    dtype: jnp.dtype
    project: Projections

    @nn.compact
    def __call__(self, patches, grid):
        start = nn.with_logical_partitioning(self.project.initializer(patches.shape[-1]), (None, "vision"))
        matrix = self.param("patch_embed", start, (patches.shape[-1], self.out)).astype(self.dtype)
        tokens = (patches.astype(self.dtype) / 255 @ matrix).reshape(len(patches), -1, 4, self.out).mean(axis=2)
        return tokens, jnp.arange(tokens.shape[1]) < grid.prod(axis=-1)[:, None]


@pytest.fixture
def flat(monkeypatch) -> ModelConfig:
    monkeypatch.setitem(vision_towers.TOWERS, "flat", Flat)
    return replace(small_config(taps=False), vision=Flat(out=32))


def test_another_vision_tower_is_a_line_in_a_table(flat):
    """It survives a checkpoint's JSON, packs, runs, is counted and converted."""
    assert config_from_dict(json.loads(json.dumps(config_to_dict(flat)))) == flat
    params = lively_params(flat)
    assert leaf_shapes(flat)["vision/patch_embed"] == params["vision"]["patch_embed"].shape == (588, 32)
    rows = pack([Encoder(flat, tiny_tokenizer())(inspection(0))], 1, SHAPE, flat.vision).rows
    run = jax.jit(lambda rows: make_module(flat).apply({"params": params}, rows).hidden, compiler_options=QUICK)
    hidden, other = run(rows), run(rows._replace(patches=255 - rows.patches))
    assert np.isfinite(hidden).all() and np.abs(hidden - other).max() > 1e-3, "it sees the images"
    assert step_flops(flat, SHAPE, 1, maps=False) > 0


def test_a_configuration_chooses_the_tower_and_its_own_sizes(flat):
    """It keeps the width that the decoder wants, and has a key for what only it has."""
    options = options_of(small_config())
    options.lock()
    options.taps, options.vision.tower, options.vision.colours = False, "flat", 1
    assert with_options(small_config(), options) == replace(flat, vision=Flat(out=32, colours=1))


def test_the_start_from_random_weights_gives_a_tower_without_time_the_whole_filters(flat):
    """Qwen's patch embedding has two slices in time, whose sum is what a tower of one slice gets."""

    def started(config):
        start = jax.jit(lambda key: init_params(config, key)["vision"]["patch_embed"], compiler_options=QUICK)
        return np.asarray(start(jax.random.key(0)))  # compiled, no other parameter is made

    ours, qwens = started(flat), started(small_config())
    assert ours.shape == (588, 32) and ours.any() and (ours == qwens.sum(axis=0)).all()


def test_stage_3_freezes_whatever_a_tower_calls_its_blocks(flat):
    assert [path for path in leaf_shapes(flat) if re.search(VIT, path)] == ["vision/patch_embed"]
    frozen = {path.split("/")[1] for path in leaf_shapes(small_config()) if re.search(VIT, path)}
    assert frozen == {"patch_embed", "groups"}


@dataclass(frozen=True)
class PlainConfig(ModelConfig):
    """Another model's configuration."""


@dataclass(frozen=True)
class Smallness:
    """Another model's loss: the mean square of its hidden states."""

    model: nn.Module
    maps: bool = False

    def __call__(self, params, rows, whole=None, own=None):
        loss = (self.model.apply({"params": params}, rows, None, False).hidden ** 2).mean()
        return loss, {"loss": loss, "smallness": loss}

    def before_parts(self, params, rows, parts):
        return None, None, {}


@pytest.fixture
def plain(monkeypatch) -> PlainConfig:
    config = PlainConfig(**vars(small_config(taps=False)))
    entry = replace(
        ENTRY, config=PlainConfig, presets={"tiny": config}, objective=lambda model, lanes, stage: Smallness(model)
    )
    monkeypatch.setitem(registry.MODELS, "plain", entry)
    return config


@pytest.mark.parametrize("microbatches", [1, 2])
def test_another_model_with_another_loss_is_a_line_in_a_table(plain, microbatches):
    assert preset("tiny", "plain") is plain and model_of(config_from_dict(config_to_dict(plain))).config is PlainConfig
    stage = get_config("tiny")
    stage.microbatches = microbatches
    stage.row.patches = BUDGET
    mesh = make_mesh(1, 1, 1, jax.devices()[:1])
    training = build_training(stage, plain, mesh, ShardingRules())
    rows = abstract_rows(training.shape, stage.rows, plain, training.rows)
    state, metrics = jax.eval_shape(training.step, training.state, rows)
    assert metrics.keys() == {"loss", "smallness", "gradient_norm", "learning_rate", "skipped", "targets"}
    assert jax.tree.structure(state) == jax.tree.structure(training.state)


def test_checkpoints_that_name_no_model_and_no_tower_are_the_first_of_each():
    config = small_encoder().config
    values = config_to_dict(config)
    assert values.pop("model") == "iadgpt" and values["vision"].pop("tower") == "qwen2_5_vl"
    assert config_from_dict(json.loads(json.dumps(values))) == config


def test_unknown_names_are_input_errors():
    with pytest.raises(InputError, match="no model 'gpt'; choose one of iadgpt"):
        preset("7b", "gpt")
    with pytest.raises(InputError, match="no model size '8b'; choose one of tiny, bench, 3b"):
        preset("8b")
