"""Several sources feed one run: by name and weight, with their own categories, for the tasks that name them."""

from __future__ import annotations

import dataclasses
import importlib

import pytest
from absl import flags
from ml_collections import config_flags

from iadgpt_jax.command_line import parse, set_source
from iadgpt_jax.data.loader import Batches, open_batches
from iadgpt_jax.data.mixture import build_parts, shares_of
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.run_sources import RunSource, open_sources
from iadgpt_jax.errors import InputError
from tests.data.numbered import SIDE, Numbered, number
from tests.data.photographs import draw_dataset
from tests.small_iadgpt import small_encoder


def tiny(stage: int):
    return importlib.import_module(f"configs.stage{stage}").get_config("tiny")


class Wordless(Numbered):
    """Without captions."""

    name = "wordless"

    def __getitem__(self, index):
        return dataclasses.replace(super().__getitem__(index), captions=())

    @property
    def records(self):
        return self._records

    @records.setter
    def records(self, records):
        self._records = tuple(dataclasses.replace(record, captioned=False) for record in records)


def two() -> list[RunSource]:
    return [RunSource("a", Numbered(), weight=3.0), RunSource("b", Numbered(categories=2), weight=1.0)]


def shares(parts) -> dict[str, float]:
    return {part.name: part.share for part in parts}


def test_a_tasks_share_is_divided_among_its_sources_by_their_weights():
    parts = build_parts(two(), {"irregular_region": {"weight": 0.8}, "odd_one_out": {"weight": 0.2}})
    assert shares(parts) == pytest.approx(
        {"irregular_region/a": 0.6, "irregular_region/b": 0.2, "odd_one_out/a": 0.15, "odd_one_out/b": 0.05}
    )


def test_a_task_draws_only_from_the_sources_it_names():
    mixture = {"irregular_region": {"weight": 1.0, "sources": ("b",)}, "odd_one_out": {"weight": 1.0}}
    assert set(shares(build_parts(two(), mixture))) == {"irregular_region/b", "odd_one_out/a", "odd_one_out/b"}
    mixture["odd_one_out"]["sources"] = ("c",)
    with pytest.raises(InputError, match=r"config.mixture.odd_one_out.sources names c, but config.sources has a, b"):
        build_parts(two(), mixture)


def test_a_task_draws_from_the_sources_that_can_serve_it_and_says_so():
    sources = [RunSource("bare", Wordless()), RunSource("told", Numbered())]
    said = []
    parts = build_parts(sources, {"describe": {"weight": 1.0}, "odd_one_out": {"weight": 1.0}}, say=said.append)
    assert shares(parts) == {"describe/told": 1.0, "odd_one_out/bare": 0.5, "odd_one_out/told": 0.5}
    assert len(said) == 1 and "wordless has no captions" in said[0] and said[0].endswith("draws from told")
    said.clear()
    build_parts([RunSource("mute", Wordless()), *sources], {"describe": {"weight": 1.0}}, say=said.append)
    assert len(said) == 1 and said[0].endswith("(so it is with bare); the task draws from told"), "a line for all"
    with pytest.raises(InputError, match="wordless has no captions"):
        build_parts(sources, {"describe": {"weight": 1.0, "sources": ("bare",)}})
    with pytest.raises(InputError, match="wordless has no captions"):
        build_parts(sources[:1], {"describe": {"weight": 1.0}})


def test_rows_hold_each_sources_share_of_questions_and_the_tally_names_it():
    """Of every task three parts in four are of source a, and its images really are source a's."""

    class Brighter(Numbered):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return dataclasses.replace(sample, image=sample.image // 2 + 128)

    sources = [RunSource("a", Numbered(), weight=3.0), RunSource("b", Brighter(), weight=1.0)]
    shape = RowShape(slots=384, images=14, patches=(SIDE // 14) ** 2, maps=1, keyword_rows=8, targets=96, mask_side=16)
    parts = build_parts(
        sources, {"irregular_region": {"weight": 0.5, "synthetic": 0.0}, "odd_one_out": {"weight": 0.5}}
    )
    batches = Batches(parts, small_encoder(), shape, rows=4, instances=8, seed=0, group=2)
    tally = batches.measure(16)
    mix = {name: questions for name, (questions, _) in tally.mix().items()}
    assert mix == pytest.approx(shares(parts), abs=0.08)
    made = [batches.streams[part][0] for part in range(4)]
    drawn = [instance.shared or instance.blocks[0].images for instance in made]
    assert [number(images[0]) > 110 for images in drawn] == [False, True, False, True]


def test_one_source_keeps_the_names_of_tasks():
    assert set(shares(build_parts([RunSource("", Numbered())], {"odd_one_out": {"weight": 2.0}}))) == {"odd_one_out"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ()),
        ({"include": "bolt,gear"}, ("bolt", "gear")),
        ({"exclude": "*t"}, ("gear",)),
        ({"include": "*t", "exclude": "nut"}, ("bolt",)),
        ({"include": "wheel"}, "include: source data has no category wheel; it has bolt, gear, nut"),
        ({"exclude": "*"}, "nothing of source data is left"),
    ],
)
def test_a_source_is_restricted_by_names_and_patterns(settings, expected, tmp_path):
    config = tiny(3)
    config.sources = {"parts": {"path": str(draw_dataset(tmp_path / "data", ("bolt", "gear", "nut"))), **settings}}
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            open_sources(config)
    else:
        (source,) = open_sources(config)
        assert (source.name, source.weight, source.categories) == ("parts", 1.0, expected)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"parts": {"weight": 1.0}}, "config.sources.parts has no path"),
        ({"parts": {"path": "x", "weight": -1.0}}, "config.sources.parts.weight is -1"),
        ({"parts": {"path": "x", "weights": 1.0}}, "config.sources.parts has no weights"),
        ({"parts": {"path": "x", "weight": 0.0}}, "no source with a weight above 0"),
        ({"parts": {"path": "/nowhere"}}, "no such dataset: /nowhere"),
    ],
)
def test_what_is_wrong_with_a_source_is_one_line(sources, message):
    config = tiny(3)
    config.sources = sources
    with pytest.raises(InputError, match=message):
        open_sources(config)


def test_sources_are_named_on_the_command_line(monkeypatch):
    found = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=found, lock_config=True)
    words = [
        "test", "--config=configs/stage3.py:tiny", "--config.sources.parts.path=a b", "--config.steps=7",
        "--config.sources.made_up.path=procedural", "--config.sources.made_up.weight=.5",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", list(words))
    monkeypatch.setattr("iadgpt_jax.command_line.flags.FLAGS", found)
    parse(words, holder, "…")
    assert holder.value.steps == 7
    assert holder.value.sources.to_dict() == {
        "parts": {"path": "a b", "weight": 1.0, "include": "", "exclude": ""},
        "made_up": {"path": "procedural", "weight": 0.5, "include": "", "exclude": ""},
    }
    for word, message in (("color=red", "a source has path, weight"), ("weight=much", "is not a number")):
        with pytest.raises(InputError, match=message):
            set_source(holder.value, "parts", *word.split("="))


def test_replay_is_a_share_of_the_stage_before():
    """Half of stage 1 beside stage 2; what is set on the command line counts."""
    config = importlib.import_module("configs.stage2").get_config("7b")
    shares = shares_of(config.mixture, config.questions, config.replay)
    assert sum(shares.values()) == 1_300_000 and shares["describe"] == 500_000
    config.replay.stage1.share = 0.1
    assert shares_of(config.mixture, config.questions, config.replay)["describe"] == 100_000
    config.mixture.describe.weight = 0.0
    assert not shares_of(config.mixture, config.questions, config.replay)["describe"]
    config.mixture.describe.update(weight=1.0, replay="stage9")
    with pytest.raises(InputError, match="config.mixture.describe.replay is 'stage9', but config.replay has stage1"):
        shares_of(config.mixture, config.questions, config.replay)


def test_a_configuration_with_sources_makes_batches(tmp_path):
    config = tiny(3)
    config.sources = {
        "parts": {"path": str(draw_dataset(tmp_path / "data", ("bolt", "gear"), 112, 112))},
        "made_up": {"path": "procedural", "weight": 2.0},
    }
    config.source_categories = 4
    batches = open_batches(config, open_sources(config), small_encoder())
    assert {"inspect/parts", "inspect/made_up"} <= set(batches.tasks)
