"""Tasks say what is true: every answer is checked against the sample it is about."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.place import PLACES, place_on_grid
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.sources.sample import Defect, Record, Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augment import View
from iadgpt_jax.data.tasks.catalogue import pick, shelves
from iadgpt_jax.data.tasks.describe import Describe
from iadgpt_jax.data.tasks.differences import IrregularRegion, OddOneOut, PairDifference
from iadgpt_jax.data.tasks.inspect import Inspect
from iadgpt_jax.errors import InputError

SIDE = 56


class Numbered:
    """Good images are grey i; defective ones have a white square at a place of their own. Every image is told apart."""

    name = "numbered"

    def __init__(self, categories=3, good=8, defective=4, masks=True):
        self.masks = masks
        self.records = tuple(
            Record(f"product_{c}", "train", j >= good) for c in range(categories) for j in range(good + defective)
        )

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        record = self.records[index]
        image = np.full((SIDE, SIDE, 3), 10 + index, np.uint8)
        image[::2, ::3] += 100  # some texture, so that CutPaste shows
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if record.defective:
            row, column = divmod(index % 9, 3)
            mask[row * 19 + 4 : row * 19 + 14, column * 19 + 4 : column * 19 + 14] = 1
            image[mask > 0] = 255
        defect = Defect("scratch", "contact with a tool", "cover the edge") if record.defective else None
        return Sample(
            image, mask if self.masks or not record.defective else None, record.defective, record.category, "train",
            f"{index}", ("It is a disc.", "It is steel.", "It is smooth."), defect,
        )  # fmt: skip


def is_defective(image: np.ndarray) -> bool:
    return bool((image == 255).any())


def white_place(image: np.ndarray) -> str:
    return place_on_grid((image == 255).all(axis=-1).astype(np.uint8))


def instances(task, count=60):
    for index in range(count):
        yield task.instance(index, np.random.default_rng(index))


ALL = {
    "describe": lambda s: Describe(s),
    "odd_one_out": lambda s: OddOneOut(s, synthetic=0.0),
    "pair": lambda s: PairDifference(s, synthetic=0.0),
    "pair with maps": lambda s: PairDifference(s, synthetic=0.0, maps=True),
    "irregular": lambda s: IrregularRegion(s, synthetic=0.0),
    "inspect": lambda s: Inspect(s, synthetic=0.0, queries=3),
}


@pytest.mark.parametrize("name", ALL)
def test_instances_are_pure_functions_of_index_and_generator(name):
    source = Numbered()
    for a, b in zip(instances(ALL[name](source), 10), instances(ALL[name](source), 10), strict=True):
        assert [block.turns for block in a.blocks] == [block.turns for block in b.blocks]
        for x, y in zip(a.shared, b.shared, strict=True):
            np.testing.assert_array_equal(x, y)
        for x, y in zip(a.blocks, b.blocks, strict=True):
            for p, q in zip(x.images, y.images, strict=True):
                np.testing.assert_array_equal(p, q)


def test_describe_asks_for_the_three_captions_of_an_image():
    (instance,) = instances(Describe(Numbered()), 1)
    assert [block.turns[0].question for block in instance.blocks] == list(prompts.DESCRIBE)
    assert [block.turns[0].answer for block in instance.blocks] == ["It is a disc.", "It is steel.", "It is smooth."]
    assert len(instance.shared) == 1 and all(block.sees == 1 and not block.images for block in instance.blocks)


def test_odd_one_out_names_the_one_defective_image():
    found = set()
    for instance in instances(OddOneOut(Numbered(), synthetic=0.0)):
        odd = [i for i, image in enumerate(instance.shared) if is_defective(image)]
        assert len(instance.shared) == 4 and len(odd) <= 1
        expected = prompts.odd_one(odd[0] if odd else None)
        assert instance.blocks[0].turns[0].answer == expected
        found.add(expected)
    assert len(found) == 5, "each of four positions, and none"


def test_pairs_tell_where_they_differ():
    asked, yes = 0, 0
    for instance in instances(PairDifference(Numbered(), synthetic=0.0)):
        assert not is_defective(instance.shared[0])
        for block in instance.blocks:
            truth = white_place(block.images[0]) if is_defective(block.images[0]) else None
            for turn in block.turns:
                if turn.question == prompts.WHERE_DIFFERENT:
                    assert turn.answer == (prompts.at(truth) if truth else prompts.NOWHERE)
                else:
                    place = next(p for p in PLACES if turn.question == prompts.DIFFERS_AT.format(place=p))
                    assert turn.answer == ("Yes." if place == truth else "No.")
                    asked += 1
                    yes += place == truth
    assert 0.1 < yes / asked < 0.5, "both answers must be common, or one of them is all that is learned"


def test_pairs_with_maps_ask_the_detection_question():
    for instance in instances(PairDifference(Numbered(), synthetic=0.0, maps=True)):
        for block in instance.blocks:
            check_detection(block)


def check_detection(block):
    """The verdict is the image's, the mask is where it is white, and the question is scored and mapped."""
    image = block.images[-1]
    assert block.turns[0].question == prompts.DETECT
    assert block.turns[0].answer == ("No" if is_defective(image) else "Yes")
    assert block.keywords is prompts.KEYWORDS and block.scored
    np.testing.assert_array_equal(block.mask, (image == 255).all(axis=-1))


def test_irregular_regions_are_named():
    answers = set()
    for instance in instances(IrregularRegion(Numbered(), synthetic=0.0)):
        (image,) = instance.blocks[0].images
        answers.add(instance.blocks[0].turns[0].answer)
        assert instance.blocks[0].turns[0].answer == (
            prompts.at(white_place(image)) if is_defective(image) else prompts.NOWHERE
        )
    assert len(answers) > 5


def test_inspections_show_good_references_of_the_querys_category_and_never_the_query_itself():
    source = Numbered()
    seen_shots, seen_ratios = set(), set()
    for instance in instances(Inspect(source, synthetic=0.0, queries=3)):
        assert len(instance.shared) == 4 and not any(is_defective(image) for image in instance.shared)
        references = {image.tobytes() for image in instance.shared}
        assert len(references) == 4
        seen_ratios.add(instance.ratio)
        category = {int(np.median(image)) // 1 for image in instance.shared}
        assert {(grey - 10) // 12 for grey in category} == {int(instance.notes["category"][-1])}
        for number, block in enumerate(instance.blocks):
            seen_shots.add(block.sees)
            assert block.images[0].tobytes() not in references
            if number < 3:
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
    task = Inspect(Numbered(), synthetic=0.3, queries=6, reasons=0)
    verdicts = [block.turns[0].answer for instance in instances(task, 100) for block in instance.blocks]
    assert 0.44 < verdicts.count("No") / len(verdicts) < 0.56  # 600 draws: three standard deviations are .06


def test_without_defective_photographs_defects_are_pasted():
    """A folder of good images alone can train; masks are where pixels changed."""
    task = Inspect(Numbered(defective=0), synthetic=0.0, queries=4, reasons=0)
    answers = []
    for instance in instances(task, 20):
        for block in instance.blocks:
            answers.append(block.turns[0].answer)
            assert block.mask.any() == (block.turns[0].answer == "No")
    assert {"Yes", "No"} == set(answers)


def test_a_defect_nobody_outlined_supervises_no_map_and_names_no_place():
    source = Numbered(masks=False)
    for instance in instances(Inspect(source, synthetic=0.0)):
        for block in instance.blocks:
            if is_defective(block.images[0]):
                assert block.mask is None
                assert " at the " not in block.turns[0].answer


def test_views_turn_image_and_mask_alike():
    source = Numbered()
    for seed in range(30):
        view = View.draw(np.random.default_rng(seed))
        for index, record in enumerate(source.records):
            if record.defective:
                image, mask = view.image(source[index].image), view.mask(source[index].mask)
                np.testing.assert_array_equal((image == 255).all(axis=-1), mask)


def test_pick_repeats_nothing_while_items_last():
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert sorted(pick(rng, (1, 2, 3, 4), 4)) == [1, 2, 3, 4]
    assert set(pick(rng, (1, 2), 50)) == {1, 2}


def test_shelves_sort_a_source_and_refuse_what_is_missing():
    source = Numbered(categories=2, good=3, defective=1)
    first, second = shelves(source)
    assert (first.category, first.good, first.defective) == ("product_0", (0, 1, 2), (3,))
    assert (second.category, second.good, second.defective) == ("product_1", (4, 5, 6), (7,))
    assert [shelf.category for shelf in shelves(source, ["product_1"])] == ["product_1"]
    with pytest.raises(InputError, match="no category nut; it has product_0, product_1"):
        shelves(source, ["nut"])
    with pytest.raises(InputError, match="has 3 good images, this task needs 5"):
        Inspect(source)


def test_stage_1_needs_captions():
    class Silent(Numbered):
        def __getitem__(self, index):
            return dataclasses.replace(super().__getitem__(index), captions=())

    with pytest.raises(InputError, match="no captions.*procedural"):
        Describe(Silent())


def test_mixtures_are_built_by_name():
    source = Numbered()
    parts = build(source, {"inspect": {"weight": 0.7, "queries": 2}, "odd_one_out": {"weight": 0}})
    assert [(type(task), weight) for task, weight in parts] == [(Inspect, 0.7)]
    assert parts[0][0].queries == 2
    with pytest.raises(InputError, match="'inspekt'.*choose from.*inspect"):
        build(source, {"inspekt": {"weight": 1}})
    with pytest.raises(InputError, match="no task with a weight"):
        build(source, {"inspect": {"weight": 0}})


def test_procedural_products_serve_every_task():
    """Real images: every defective query has a mask, every reasoning its facts."""
    source = ProceduralSource(0, categories=3)
    kinds = set()
    for instance in instances(Inspect(source, reasons=2), 10):
        for block in instance.blocks:
            if block.scored:
                assert block.mask.any() == (block.turns[0].answer == "No")
            elif block.turns[0].answer != prompts.NOTHING_WRONG:
                kinds.add(block.turns[0].answer.split(" at the ")[0])
    assert len(kinds) > 1
