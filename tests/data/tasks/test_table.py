"""Tasks are a table: named in the configuration, with options read from their signatures."""

from __future__ import annotations

import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION
from iadgpt_jax.data.tasks.category_task import CategoryTask
from iadgpt_jax.data.tasks.inspect import Inspect
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.table import TASKS, default_options
from iadgpt_jax.data.tasks.task_source import TaskSource
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, instances


def test_mixtures_are_built_by_name():
    parts = build(Numbered(), {"inspect": {"weight": 0.7, "queries": 2}, "odd_one_out": {"weight": 0}})
    assert [(type(task), weight) for task, weight in parts] == [(Inspect, 0.7)]
    assert parts[0][0].queries == 2


@pytest.mark.parametrize(
    "parts,message",
    [
        ({"inspekt": {"weight": 1}}, r"task 'inspekt' \(did you mean inspect\?\); choose from .*inspect"),
        ({"inspekt": {"weight": 0}, "inspect": {"weight": 1}}, "task 'inspekt'"),
        ({"inspect": {"weight": 0}}, "no task with a weight above 0"),
        ({"inspect": {"weight": -1}}, "config.mixture.inspect.weight is -1"),
        ({"inspect": {"queries": 1}}, "config.mixture.inspect has no weight"),
        ({"inspect": {"weight": 1, "ratio": 1}}, r"config.mixture.inspect has no option 'ratio' \(did you mean ratios"),
        ({"describe": {"weight": 1, "shots": (1,)}}, "config.mixture.describe has no option 'shots'; it has none"),
        ({"inspect": {"weight": 1, "shots": ()}}, r"config.mixture.inspect.shots is \(\): choose"),
        ({"inspect": {"weight": 1, "shots": (0,)}}, "config.mixture.inspect.shots"),
        ({"inspect": {"weight": 1, "ratios": (2.0,)}}, "config.mixture.inspect.ratios"),
        ({"inspect": {"weight": 1, "queries": 0, "reasons": 0}}, "config.mixture.inspect.queries"),
        ({"pair_difference": {"weight": 1, "pairs": 0}}, "config.mixture.pair_difference.pairs"),
        ({"irregular_region": {"weight": 1, "synthetic": 1.5}}, "config.mixture.irregular_region.synthetic"),
        ({"irregular_region": {"weight": 1, "visits": 0}}, "config.mixture.irregular_region.visits"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line_that_names_the_option(parts, message):
    with pytest.raises(InputError, match=message):
        build(Numbered(), parts)


def test_every_task_has_defaults_for_all_its_options():
    assert default_options("inspect") == {
        "shots": (1, 2, 4), "queries": 6, "reasons": 1, "more": 0, "ratios": (1.0, 0.2), "synthetic": 0.1,
        "synthesizers": ("cutpaste",), "synthetic_kinds": False, "visits": 8, "told": 0, "asks": 0.0,
    }  # fmt: skip
    for name in TASKS:
        ((task, _),) = build(Numbered(talks=True), {name: {"weight": 1.0, **default_options(name)}})
        assert task.name == name
        for option, value in default_options(name).items():
            assert getattr(task, option) == value


def test_a_task_source_lists_chosen_categories_good_and_defective_apart():
    source = Numbered(categories=2, good=3, defective=2, masks="half")
    first, second = TaskSource(source, say=lambda line: None).categories
    assert (first.name, first.good, first.defective, first.masked) == ("product_0", (0, 1, 2), (3, 4), (4,))
    assert (second.name, second.good, second.defective, second.masked) == ("product_1", (5, 6, 7), (8, 9), (8,))
    (only,) = TaskSource(source, ["product_1"], say=lambda line: None).categories
    assert only == second
    with pytest.raises(InputError, match="no category nut; it has product_0, product_1: correct config.categories"):
        TaskSource(source, ["nut"])


def test_a_chosen_category_restricts_every_task():
    source = Numbered(categories=3, talks=True)
    only = build(Numbered(1, talks=True), {name: {"weight": 1.0} for name in TASKS})
    alone = {task.name: len(task) for task, _ in only}
    for task, _ in build(source, {name: {"weight": 1.0} for name in TASKS}, ["product_1"]):
        assert len(task) == alone[task.name]


def test_a_new_task_is_a_class_and_a_line(monkeypatch):
    class CountReferences(CategoryTask):
        name = "count_references"

        def __init__(self, source, augmentation=NO_AUGMENTATION, *, most: int = 3, synthetic=0.0, visits=2):
            super().__init__(source, augmentation, least_good=most, synthetic=synthetic, visits=visits)
            self.most = most

        def instance(self, index, rng):
            shown = self.category(index).good[: 1 + int(rng.integers(self.most))]
            images = tuple(self.sample(i, self.augmentation.draw(rng)).image for i in shown)
            return Instance(self.name, (Block((Turn("How many?", f"{len(shown)}."),), sees=len(shown)),), images)

    monkeypatch.setitem(TASKS, CountReferences.name, CountReferences)
    assert default_options("count_references") == {"most": 3, "synthetic": 0.0, "visits": 2}
    ((task, _),) = build(Numbered(), {"count_references": {"weight": 1.0, "most": 2}})
    assert {len(instance.shared) for instance in instances(task)} == {1, 2}
