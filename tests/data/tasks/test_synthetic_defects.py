"""Tasks make defects with the configured synthesizers; by default as they always did."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.place import place_on_grid
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.synthesis.cutpaste import cutpaste
from iadgpt_jax.data.synthesis.table import SYNTHESIZERS
from iadgpt_jax.data.tasks.augmentation import View
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, instances


def task_of(name, source, **options):
    ((task, _),) = build(source, {name: {"weight": 1.0, "synthetic": 1.0, **options}})
    return task


@pytest.fixture(scope="module")
def source():
    return ProceduralSource(0, categories=2)


def made(source, count=40, **options):
    task = task_of("irregular_region", source, **options)
    category = task.categories[0]
    return [
        (category.good[i % 8], task.defective(category, category.good[i % 8], View(), np.random.default_rng(i)))
        for i in range(count)
    ]


def test_by_default_the_generator_serves_cutpaste_alone(source):
    for seed, (good, sample) in enumerate(made(source)):
        rng = np.random.default_rng(seed)
        rng.random()  # whether it is synthetic
        image, mask = cutpaste(source[good].image, rng)
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.mask, mask)


def test_chosen_synthesizers_are_as_likely_and_say_what_they_made(source):
    samples = [sample for _, sample in made(source, 100, synthesizers=("cutpaste", "nsa"))]
    kinds = [(sample.key.partition("+")[2], sample.defect.kind) for sample in samples if sample.defective]
    assert set(kinds) == {("cutpaste", "misplaced patch"), ("nsa", "blended-in patch")}
    assert 0.3 < kinds.count(("nsa", "blended-in patch")) / len(kinds) < 0.7  # 100 draws: four deviations are .2


def test_where_one_synthesizer_shows_nothing_the_other_is_asked(source, monkeypatch):
    monkeypatch.setitem(SYNTHESIZERS, "nsa", dataclasses.replace(SYNTHESIZERS["nsa"], make=lambda *_: None))
    samples = [sample for _, sample in made(source, 20, synthesizers=("cutpaste", "nsa"))]
    assert {sample.key.partition("+")[2] for sample in samples} == {"cutpaste"}
    samples = [sample for _, sample in made(source, 5, synthesizers=("nsa",))]
    assert not any(sample.defective or sample.mask.any() for sample in samples), "it stays the good one it is"


def test_reasons_name_the_kind_where_they_are_told_to(source):
    def answers(**options):
        task = task_of("inspect", source, queries=0, reasons=4, synthesizers=("nsa",), **options)
        return {b.turns[0].answer.split(" at ")[0] for i in instances(task, 20) for b in i.blocks}

    assert answers(synthetic_kinds=True) == {"There is a blended-in patch", "Nothing. The product is normal."}
    assert not any(answer.startswith("There is") for answer in answers()), "nobody asks for its kind"


@pytest.mark.parametrize("name", SYNTHESIZERS)
def test_answers_about_places_are_those_of_the_mask(source, name):
    for _, sample in made(source, 20, synthesizers=(name,)):
        assert sample.mask.shape == sample.image.shape[:2] and sample.mask.any() == sample.defective
        assert place_on_grid(sample.mask)


@pytest.mark.parametrize("value", ["nsa", (), ("nsa", "cutpast")])
def test_unknown_synthesizers_are_one_line(value):
    with pytest.raises(InputError, match="config.mixture.inspect.synthesizers is .*choose some of cutpaste, nsa"):
        task_of("inspect", Numbered(), synthesizers=value)
