"""Every configuration builds, and its rows hold what its tasks make."""

from __future__ import annotations

import functools
import importlib
import operator
from pathlib import Path

import jax
import pytest

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import Batches
from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.registry import init_params, preset
from iadgpt_jax.train.build import row_shape
from iadgpt_jax.train.optimizer import split_params
from launch.train import check

STAGES = sorted(path.stem for path in Path(__file__).parents[2].glob("configs/stage*.py"))
SIZES = ("tiny", "bench", "3b", "7b")


def get_config(stage: str, size: str):
    return importlib.import_module(f"configs.{stage}").get_config(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_builds_at_every_size(stage, size):
    config = get_config(stage, size)
    assert f"stage{config.stage}" == stage.partition("_")[0]
    shape = row_shape(config)
    assert shape.patches == (config.image_side // preset(size).vision.patch) ** 2, "an image fills its slot"
    assert config.image_side % preset(size).vision.window == 0
    assert set(LossWeights._fields) == set(config.loss)
    trained, frozen = split_params(_shapes(size), config.frozen)
    # From random weights the ViT must learn to see before it is frozen, so the tiny stage 3 leaves that to its end.
    assert bool(frozen) == (config.stage == 3 and (size, stage) != ("tiny", "stage3"))
    if size in ("tiny", "bench"):
        check(config)
    else:
        with pytest.raises(InputError, match="published weights.*init_from"):
            check(config)
        config.init_from = "somewhere"
        with pytest.raises(InputError, match="needs images.*prepare_data"):
            check(config)


def _shapes(size):
    return jax.eval_shape(lambda: init_params(preset(size), jax.random.key(0)))


def test_a_size_without_configuration_is_an_input_error():
    with pytest.raises(InputError, match="'nano'.*:tiny, :bench, :3b or :7b"):
        get_config("stage2", "nano")


def test_the_papers_settings():
    """Learning rates, replay and frozen parts as docs/design.md settles them. (Batches: tests/data/test_fill.py.)"""
    stages = [get_config(f"stage{stage}", "7b") for stage in (1, 2, 3)]
    assert [c.optimizer.rate for c in stages] == [1e-5, 1e-5, 2e-6]
    assert [c.map_space for c in stages] == ["none", "none", "probability"]
    for name in ("answer", "focal", "dice_abnormal", "dice_normal"):
        assert [c.loss[name] for c in stages] == [1, 1, 1]
    own = ("pair_difference", "odd_one_out", "irregular_region")
    share = stages[1].mixture.describe.weight / sum(stages[1].mixture[name].weight for name in own)
    assert share == pytest.approx(0.5 * 1.0 / 0.8, rel=0.05)  # half of 1 M pairs beside 800 k
    replayed = sum(stages[2].mixture[name].weight for name in own) / stages[2].mixture.inspect.weight
    assert replayed == pytest.approx(0.8 * 0.8 / 0.7, rel=0.05)  # 80 % of 800 k beside 700 k


@pytest.fixture(scope="module")
def source():
    return ProceduralSource(0, categories=12)


def pack_steps(config, size, source, tokenizer, steps) -> Tally:
    encoder = Encoder(preset(size), tokenizer)
    parts = build(source, config.mixture)
    batches = Batches(parts, encoder, row_shape(config), rows=config.rows, instances=config.instances, seed=0)
    return functools.reduce(operator.add, (batches[step].tally for step in range(steps)))


@pytest.mark.parametrize("stage", STAGES)
def test_tiny_rows_hold_200_instances(stage, source):
    """None is too large for an empty row (pack raises InputError), and at most every tenth finds its rows full."""
    config = get_config(stage, "tiny")
    steps = -(-200 // config.instances)
    tally = pack_steps(config, "tiny", source, tiny_tokenizer(), steps)
    assert tally.instances + tally.dropped == steps * config.instances
    assert tally.dropped_share <= 0.1
    slots, images = tally.filled
    assert slots > 0.5 and images > 0.5
