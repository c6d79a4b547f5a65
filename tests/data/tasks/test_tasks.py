"""Tasks say what is true: every answer is checked against the sample it is about."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augmentation import Augmentation
from iadgpt_jax.data.tasks.describe import Describe
from iadgpt_jax.data.tasks.inspect import Inspect
from iadgpt_jax.data.tasks.irregular_region import IrregularRegion
from iadgpt_jax.data.tasks.odd_one_out import OddOneOut
from iadgpt_jax.data.tasks.pair_difference import PairDifference
from iadgpt_jax.data.tasks.task_source import TaskSource
from tests.data.numbered import Numbered, instances, is_defective, number, white_mask, white_place


def make(task, source=None, **options):
    """A task over a source (`Numbered`), every augmentation on."""
    return task(TaskSource(source or Numbered()), Augmentation(flips=True, colours=True), **options)


ALL = {
    "describe": lambda: make(Describe),
    "odd_one_out": lambda: make(OddOneOut, synthetic=0.0),
    "pair": lambda: make(PairDifference, synthetic=0.0),
    "pair with maps": lambda: make(PairDifference, synthetic=0.0, maps=True),
    "irregular": lambda: make(IrregularRegion, synthetic=0.0),
    "inspect": lambda: make(Inspect, synthetic=0.0, queries=3),
}


@pytest.mark.parametrize("name", ALL)
def test_instances_are_pure_functions_of_index_and_generator(name):
    for a, b in zip(instances(ALL[name](), 10), instances(ALL[name](), 10), strict=True):
        assert [block.turns for block in a.blocks] == [block.turns for block in b.blocks]
        for x, y in zip(a.shared, b.shared, strict=True):
            np.testing.assert_array_equal(x, y)
        for x, y in zip(a.blocks, b.blocks, strict=True):
            for p, q in zip(x.images, y.images, strict=True):
                np.testing.assert_array_equal(p, q)


def test_pairs_with_maps_ask_the_detection_question():
    for instance in instances(make(PairDifference, synthetic=0.0, maps=True)):
        for block in instance.blocks:
            check_detection(block)


def check_detection(block):
    """The verdict is the image's, the mask is where it is white, and the question is scored and mapped."""
    image = block.images[-1]
    assert block.detection.defective == is_defective(image) and not block.turns
    np.testing.assert_array_equal(block.detection.mask, white_mask(image))


def test_irregular_regions_are_named():
    answers = set()
    for instance in instances(make(IrregularRegion, synthetic=0.0)):
        (image,) = instance.blocks[0].images
        answers.add(instance.blocks[0].turns[0].answer)
        assert instance.blocks[0].turns[0].answer == (
            prompts.at(white_place(image)) if is_defective(image) else prompts.NOWHERE
        )
    assert len(answers) > 5


def test_inspections_show_good_references_of_the_querys_category_and_never_the_query_itself():
    source = Numbered()
    seen_shots, seen_ratios = set(), set()
    for instance in instances(make(Inspect, source, synthetic=0.0, queries=3)):
        assert len(instance.shared) == 4 and not any(is_defective(image) for image in instance.shared)
        references = {image.tobytes() for image in instance.shared}
        assert len(references) == 4
        seen_ratios.add(instance.ratio)
        assert {number(image) // 12 for image in instance.shared} == {int(instance.notes["category"][-1])}
        for position, block in enumerate(instance.blocks):
            seen_shots.add(block.sees)
            assert block.images[0].tobytes() not in references
            if position < 3:
                check_detection(block)
            else:
                answer = block.turns[0].answer
                if is_defective(block.images[0]):
                    assert answer == (
                        f"There is a scratch at the {white_place(block.images[0])}. Likely cause: contact with a tool. "
                        "Remedy: cover the edge."
                    )
                else:
                    assert answer == prompts.NOTHING_WRONG
    assert seen_shots == {1, 2, 4} and seen_ratios == {1.0, 0.2}


def test_about_half_of_the_queries_are_defective():
    task = make(Inspect, synthetic=0.3, queries=6, reasons=0)
    verdicts = [block.detection.defective for instance in instances(task, 100) for block in instance.blocks]
    assert 0.44 < verdicts.count(True) / len(verdicts) < 0.56  # 600 draws: three standard deviations are .06


def test_without_defective_photographs_defects_are_pasted():
    """A folder of good images alone can train; masks are where pixels changed."""
    task = make(Inspect, Numbered(defective=0), synthetic=0.0, queries=4, reasons=0)
    answers = []
    for instance in instances(task, 20):
        for block in instance.blocks:
            answers.append(block.detection.defective)
            assert block.detection.mask.any() == block.detection.defective
    assert {True, False} == set(answers)


def test_a_defect_nobody_outlined_supervises_no_map_and_names_no_place():
    source = Numbered(masks="none")
    for instance in instances(make(Inspect, source, synthetic=0.0)):
        for block in instance.blocks:
            if is_defective(block.images[0]):
                assert block.detection is None or block.detection.mask is None
                assert not any(" at the " in turn.answer for turn in block.turns)


def test_procedural_products_serve_every_task():
    """Real images: every defective query has a mask, every reasoning its facts."""
    source = ProceduralSource(0, categories=3)
    kinds = set()
    for instance in instances(make(Inspect, source, reasons=2), 10):
        for block in instance.blocks:
            if block.detection:
                assert block.detection.mask.any() == block.detection.defective
            elif block.turns[0].answer != prompts.NOTHING_WRONG:
                kinds.add(block.turns[0].answer.split(" at the ")[0])
    assert len(kinds) > 1
