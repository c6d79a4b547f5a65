"""A defect that nobody outlined is never asked for its place, and never taught as none."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.place import PLACES
from iadgpt_jax.data.tasks import prompts
from tests.data.numbered import Numbered, instances, is_defective, number

PLACE_QUESTIONS = {prompts.WHERE_DIFFERENT, prompts.IRREGULAR, *(prompts.DIFFERS_AT.format(place=p) for p in PLACES)}
OPTIONS = {
    "odd_one_out": {},
    "pair_difference": {"more": 2},
    "pair_difference with maps": {"maps": True},
    "irregular_region": {},
    "inspect": {"reasons": 3, "more": 2},
}


def task_of(name: str, source, **options):
    ((task, _),) = build(source, {name.split()[0]: {"weight": 1.0, "synthetic": 0.0, **OPTIONS[name], **options}})
    return task


def blocks_of(task):
    for instance in instances(task):
        yield from instance.blocks
        yield from (make() for make in instance.more)


def asks_for_a_place(block) -> bool:
    return any(turn.question in PLACE_QUESTIONS for turn in block.turns)


@pytest.mark.parametrize("masks", ["none", "black", "half"])
@pytest.mark.parametrize("name", OPTIONS)
def test_no_place_is_asked_of_a_defect_without_a_mask(name, masks):
    source = Numbered(masks=masks)
    for block in blocks_of(task_of(name, source)):
        if block.images and is_defective(block.images[-1]) and not source.has_mask(number(block.images[-1])):
            assert not asks_for_a_place(block)
            assert all(turn.answer != prompts.NOWHERE for turn in block.turns)
            assert not any(f" the {place}" in turn.answer for turn in block.turns for place in PLACES)


@pytest.mark.parametrize("masks", ["none", "black"])
@pytest.mark.parametrize("name", ["pair_difference with maps", "inspect"])
def test_verdicts_are_learned_from_it_and_no_map(name, masks):
    defective = [
        block for block in blocks_of(task_of(name, Numbered(masks=masks)))
        if block.detection and is_defective(block.images[-1])
    ]  # fmt: skip
    assert len(defective) > 20
    for block in defective:
        assert block.detection.defective is True
        assert block.detection.mask is None


@pytest.mark.parametrize("masks", ["none", "black"])
def test_it_may_be_the_odd_one_of_a_group(masks):
    odd = [image for instance in instances(task_of("odd_one_out", Numbered(masks=masks))) for image in instance.shared]
    assert any(is_defective(image) for image in odd)


@pytest.mark.parametrize("masks", ["all", "half", "none", "black"])
@pytest.mark.parametrize("name", ["irregular_region", "pair_difference"])
def test_places_are_asked_as_often_with_masks_as_without(name, masks):
    """Where a category has no outlined defect one is pasted: half of the images differ somewhere, as always."""
    somewhere = [
        block.turns[0].answer != prompts.NOWHERE
        for block in blocks_of(task_of(name, Numbered(masks=masks), visits=100))
        if block.turns[0].question in (prompts.WHERE_DIFFERENT, prompts.IRREGULAR)
    ]
    assert len(somewhere) >= 60
    assert abs(np.mean(somewhere) - 0.5) < 3 * 0.5 / np.sqrt(len(somewhere))


def test_outlined_defects_are_asked_for_where_there_are_some():
    source = Numbered(masks="half")
    asked = {
        number(block.images[-1]) for block in blocks_of(task_of("irregular_region", source))
        if is_defective(block.images[-1])
    }  # fmt: skip
    assert asked == {i for i, record in enumerate(source.records) if record.defective and source.has_mask(i)}


@pytest.mark.parametrize("masks,count", [("none", 12), ("black", 12), ("half", 6)])
def test_defects_without_a_mask_are_counted_when_tasks_are_built(masks, count):
    said: list[str] = []
    build(Numbered(masks=masks), {"inspect": {"weight": 1.0}, "irregular_region": {"weight": 1.0}}, say=said.append)
    assert len(said) == 1, "once, however many tasks draw from the source"
    assert f"{count} of 12 defective images" in said[0] and "product_0 " in said[0]


def test_nothing_is_said_where_every_defect_is_outlined():
    said: list[str] = []
    build(Numbered(), {"inspect": {"weight": 1.0}}, say=said.append)
    assert said == []
