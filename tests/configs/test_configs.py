"""Every configuration builds, and its rows hold what its tasks make."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import operator
from pathlib import Path

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import open_batches
from iadgpt_jax.data.mixture import shares_of
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.run_sources import only
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.data.tasks.table import TASKS, default_options
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.registry import init_params, preset
from iadgpt_jax.models.vision_towers import TOWER, TOWERS
from iadgpt_jax.train.bounds import check_configuration as check
from iadgpt_jax.train.optimizer import split_params

STAGES = sorted(path.stem for path in Path(__file__).parents[2].glob("configs/stage*.py"))
SIZES = ("tiny", "bench", "3b", "7b")


def get_config(stage: str, size: str):
    return importlib.import_module(f"configs.{stage}").get_config(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_builds_at_every_size(stage, size):
    config = get_config(stage, size)
    assert f"stage{config.stage}" == stage.partition("_")[0]
    shape = RowShape.of(config.row)
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
    """Learning rates, mixtures and frozen parts of `:7b,paper`. (Batches and epochs: tests/data/test_budgets.py.)"""
    stages = [get_config(f"stage{stage}", "7b,paper") for stage in (1, 2, 3)]
    assert [c.optimizer.rate for c in stages] == [1e-5, 1e-5, 2e-6]
    assert {c.optimizer.kind for c in stages} == {"adamw"}
    assert [c.map_space for c in stages] == ["none", "none", "probability"]
    for name in ("answer", "focal", "dice_abnormal", "dice_normal"):
        assert [c.loss[name] for c in stages] == [1, 1, 1]
    own = ("pair_difference", "odd_one_out", "irregular_region")
    shares = [shares_of(c.mixture, c.questions, c.replay) for c in stages]
    share = shares[1]["describe"] / sum(shares[1][name] for name in own)
    assert share == pytest.approx(0.5 * 1.0 / 0.8)  # half of 1 M pairs beside 800 k
    replayed = sum(shares[2][name] for name in own) / (shares[2]["inspect"] + shares[2]["reason"])
    assert replayed == pytest.approx(0.8 * 0.8 / 0.7)  # 80 % of 800 k beside 700 k


@pytest.mark.parametrize("stage", (1, 2, 3))
def test_a_larger_batch_has_a_rate_larger_by_its_root(stage):
    """Than the paper's, by questions, so by how many fewer steps an epoch is; and on slices by rows."""
    paper, plain, spread = (get_config(f"stage{stage}", name) for name in ("7b,paper", "7b", "7b@v6e:8x8"))
    larger = paper.steps / plain.steps
    assert plain.optimizer.rate / paper.optimizer.rate == pytest.approx(larger**0.5, rel=0.05) and larger > 4
    assert spread.optimizer.rate / plain.optimizer.rate == pytest.approx((spread.rows / plain.rows) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["tiny,paper", "7b,papers"])
def test_an_unknown_recipe_is_an_input_error(name):
    with pytest.raises(InputError, match="paper's recipe is for :3b and :7b|no recipe 'papers'"):
        get_config("stage1", name)


def test_the_paper_on_a_slice_keeps_its_batch_or_says_that_it_cannot():
    plain, spread = get_config("stage3", "7b,paper"), get_config("stage3", "7b,paper@v5p:2x2x4")
    assert (spread.rows, spread.steps, spread.optimizer.rate) == (plain.rows, plain.steps, plain.optimizer.rate)
    assert spread.mesh.to_dict() == {"data": 1, "fsdp": 8, "tensor": 2}
    assert get_config("stage3", "7b,paper@2xv5e:4x4").mesh.to_dict() == {"data": 2, "fsdp": 4, "tensor": 4}
    with pytest.raises(
        InputError,
        match="8 rows does not spread over 64 chips: choose a slice of 1, 2, 4, 8, 16, 32 chips, or 7b@v5e:8x8",
    ):
        get_config("stage3", "7b,paper@v5e:8x8")
    with pytest.raises(InputError, match="8, 16 chips"):
        get_config("stage3", "3b,paper@v5e:4x8")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("size", "side"), [("tiny", 168), ("tiny", 224), ("7b", 672), ("7b", 896), ("7b,paper", 672)])
def test_rows_follow_the_side_of_images(stage, size, side, source):
    """--config.image_side alone: an image fills its slot, and rows hold the tasks' instances."""
    config = get_config(stage, size)
    own = RowShape.of(config.row)
    config.lock()
    config.image_side = side
    shape = RowShape.of(config.row)
    assert shape.patches == (side // 14) ** 2 and shape.images == own.images
    # References and queries of an inspection, and a text each.
    tokens = (side // 28) ** 2
    assert shape.slots >= (4 + 1) * (tokens + 2) + 100
    if shape.lanes:
        assert min(slots for _, slots in shape.lanes.groups) >= tokens + 2 + 8
        assert shape.lanes.prefix >= (1 if config.stage == 1 else 4) * (tokens + 2)
    config.row.slots = 12345
    assert config.row.slots == 12345 and config.image_side == side, "what is set itself stays"


def test_larger_images_alone_pack(source):
    config = get_config("stage3", "tiny")
    config.image_side = 224
    enlarged = ProceduralSource(0, categories=4, side=224)
    tally = pack_steps(config, "tiny", enlarged, tiny_tokenizer(), 5)
    assert tally.dropped_share <= 0.1 and tally.instances > 0


@pytest.mark.parametrize("stage", STAGES)
def test_every_task_and_option_is_a_key(stage, monkeypatch):
    """Of every task, and of the model: so that each can be set on the command line."""
    config = get_config(stage, "tiny")
    assert set(config.mixture) == set(TASKS)
    for name in TASKS:
        assert set(config.mixture[name]) == {"weight", "sources", "replay", *default_options(name)}
    fields = {field.name for tower in TOWERS.values() for field in dataclasses.fields(tower)}
    assert set(config.model.vision) == {TOWER, *fields}
    assert set(config.model.language) == {field.name for field in dataclasses.fields(preset("tiny").language)}
    assert {"positions", "taps", "init"} <= set(config.model)
    overrides = {
        "config.mixture.inspect.ratios": "(1,.2)", "config.mixture.inspect.shots": "(1,2)",
        "config.mixture.pair_difference.maps": "true", "config.model.positions": "qwen", "config.model.taps": "false",
        "config.model.language.depth": "8", "config.loss.focal_gamma": "1.5", "config.augment.colours": "false",
        "config.optimizer.groups.gates.rate": "10", "config.image_side": "224",
    }  # fmt: skip
    values = flag_values(stage, overrides, monkeypatch)
    assert tuple(values.mixture.inspect.ratios) == (1, 0.2) and tuple(values.mixture.inspect.shots) == (1, 2)
    assert values.mixture.pair_difference.maps is True and values.augment.colours is False
    assert (values.model.positions, values.model.taps, values.model.language.depth) == ("qwen", False, 8)
    assert values.loss.focal_gamma == 1.5 and values.optimizer.groups.gates.rate == 10
    assert values.row.patches == 256


def flag_values(stage: str, overrides: dict[str, str], monkeypatch):
    """The configuration as absl reads it from a command line."""
    found = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=found, lock_config=True)
    file = Path(__file__).parents[2] / f"configs/{stage}.py"
    words = ["test", f"--config={file}:tiny", *(f"--{key}={value}" for key, value in overrides.items())]
    monkeypatch.setattr("sys.argv", words)  # where the flag finds what overrides it
    found(words)
    return holder.value


@pytest.fixture(scope="module")
def source():
    return ProceduralSource(0, categories=12)


def pack_steps(config, size, source, tokenizer, steps) -> Tally:
    batches = open_batches(config, [only(source, config)], Encoder(preset(size), tokenizer))
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


@pytest.mark.parametrize("stage", (2, 3))
def test_full_sizes_ask_in_several_ways_about_several_kinds_of_synthetic_defects(stage):
    """From scratch it is one phrasing and CutPaste, which the tiny recipe was tuned with."""
    tiny, full = (get_config(f"stage{stage}", size).mixture for size in ("tiny", "7b"))
    for name in ("odd_one_out", "pair_difference", "irregular_region"):
        assert (tiny[name].phrasings, full[name].phrasings) == (1, 5)
        assert (tiny[name].synthesizers, full[name].synthesizers) == (("cutpaste",), ("cutpaste", "nsa"))
    assert (tiny.inspect.synthetic_kinds, full.inspect.synthetic_kinds) == (False, True)


def test_stage_3_reasons_with_instruction_data_as_large_as_anomaly_instruct():
    mixture = get_config("stage3", "7b").mixture
    assert mixture.reason.weight / (mixture.reason.weight + mixture.inspect.weight) == pytest.approx(
        125 / 700, abs=0.01
    )
    assert (mixture.reason.shots, mixture.reason.ratios) == ((1, 2, 4), (1.0, 0.2))
    assert not get_config("stage3", "tiny").mixture.reason.weight
