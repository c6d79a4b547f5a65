"""Full-size rows are full whatever the length of texts, drop next to nothing, and hold the mixture's questions.

Images are 64 pixels wide here, with patches of 2: as many tokens as 448 pixels are in the published models.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib

import pytest

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import open_batches
from iadgpt_jax.data.mixture import shares_of
from iadgpt_jax.data.run_sources import only
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.models.registry import preset
from tests.data.worded import Worded

GROUPS = 24
# Tokens of a caption; in stage 3, of what is said of a defect.
CASES = [(stage, tokens) for stage in (1, 2, 3) for tokens in (30, 60, 120)]


@functools.cache
def encoder(shared_dir) -> Encoder:
    model = preset("7b")
    vision = dataclasses.replace(model.vision, patch=2, window=16)
    return Encoder(dataclasses.replace(model, vision=vision), Tokenizer.load(shared_dir / "qwen2_5_vl_7b"))


def one_group(stage: int, name: str = "7b"):
    """The stage's configuration with a single group of rows a step: what is measured of a group is the same."""
    config = importlib.import_module(f"configs.stage{stage}").get_config(name)
    config.rows, config.instances = config.pack.group, config.instances * config.pack.group // config.rows
    return config


def batches_of(config, tokens: int, shared_dir):
    return open_batches(config, [only(Worded(tokens, side=64), config)], encoder(shared_dir))


@functools.cache
def measured(stage: int, tokens: int, shared_dir, name: str = "7b", groups: int = GROUPS):
    return batches_of(one_group(stage, name), tokens, shared_dir).measure(groups)


@pytest.mark.parametrize(("stage", "tokens"), CASES)
def test_rows_are_full_and_drop_nothing_however_long_texts_are(stage, tokens, shared_dir):
    tally = measured(stage, tokens, shared_dir)
    assert tally.filled[0] >= 0.92
    assert tally.dropped_share <= 0.01 and tally.cut == 0


@pytest.mark.parametrize("stage", (2, 3))
def test_shares_of_the_mixture_are_shares_of_questions(stage, shared_dir):
    """Not of instances, which hold one question or many: in stage 2 38 % describe, in stage 3 48 % are replay. The
    source has no conversations to reason about: that share of stage 3 is inspected, too."""
    config = importlib.import_module(f"configs.stage{stage}").get_config("7b")
    asked = shares_of(config.mixture, config.questions, config.replay)
    asked["inspect"] += asked.pop("reason")
    mix = measured(stage, 60, shared_dir, groups=2 * GROUPS).mix(asked)  # a mix begins with its rarer tasks
    for name, (share, _) in mix.items():
        assert share == pytest.approx(asked[name] / sum(asked.values()), abs=0.03), name


@pytest.mark.parametrize(("stage", "batch"), [(1, 64), (2, 32), (3, 32)])
def test_the_papers_recipe_has_the_papers_batches(stage, batch, shared_dir):
    """In questions, on average over steps, with texts of 60 tokens."""
    config = importlib.import_module(f"configs.stage{stage}").get_config("7b,paper")
    questions = measured(stage, 60, shared_dir, "7b,paper").queries / GROUPS
    assert questions * config.rows / config.pack.group == pytest.approx(batch, rel=0.15)


@pytest.mark.parametrize(("stage", "epoch"), [(1, 3e6), (2, 1.3e6), (3, 1.34e6)])
def test_steps_are_the_papers_epochs(stage, epoch, shared_dir):
    config = importlib.import_module(f"configs.stage{stage}").get_config("7b")
    questions = measured(stage, 60, shared_dir).queries / GROUPS * config.rows / config.pack.group
    assert questions * config.steps == pytest.approx(epoch, rel=0.1)


def test_a_text_longer_than_a_row_is_cut_and_counted_and_ends_no_run(shared_dir):
    """Captions of 700 to 2,100 tokens, three to an image, where a row has 1,536 slots."""
    config = one_group(1)
    config.row.slots, config.row.images, config.row.targets = 1536, 4, 900
    tally = batches_of(config, 1400, shared_dir).measure(1)
    assert tally.cut == tally.instances > 0
    assert tally.dropped_share <= 0.01 and tally.queries == 3 * tally.instances


def test_fewer_instances_are_drawn_where_rows_hold_fewer(shared_dir):
    """Of captions of 600 tokens a row holds the descriptions of one or two images, and four were to be drawn."""
    config = one_group(1)
    batches = batches_of(config, 600, shared_dir)
    assert 2 <= batches.instances < config.instances
    assert batches.measure(8).dropped_share <= 0.02
