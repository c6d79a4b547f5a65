"""Pairs: where they differ is where the mask is, and a place is asked for only where the answer is clear."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.place import PLACES, cell
from iadgpt_jax.data.sources.sample import Record, Sample
from iadgpt_jax.data.tasks import prompts
from tests.data.numbered import Numbered, instances, is_defective, number, white_mask, white_place

SIDE = 90  # nine cells of 30×30


def pair_difference(source, **options):
    ((task, _),) = build(source, {"pair_difference": {"weight": 1.0, "synthetic": 0.0, **options}})
    return task


def place_asked(turn) -> str | None:
    return next((p for p in PLACES if turn.question == prompts.DIFFERS_AT.format(place=p)), None)


def test_pairs_tell_where_they_differ():
    for instance in instances(pair_difference(Numbered())):
        assert not is_defective(instance.shared[0])
        for block in instance.blocks:
            for turn in block.turns:
                if turn.question == prompts.WHERE_DIFFERENT:
                    differs = is_defective(block.images[0])
                    expected = prompts.at(white_place(block.images[0])) if differs else prompts.NOWHERE
                    assert turn.answer == expected


def share_of_cell(mask: np.ndarray, place: str) -> tuple[float, float]:
    """(share of the mask's pixels that lie in a cell, share of the cell that they cover)."""
    height, width = mask.shape
    row, column = cell(place)
    inside = total = 0
    for y, x in np.ndindex(mask.shape):
        if int((y + 0.5) / height * 3) == row and int((x + 0.5) / width * 3) == column:
            inside, total = inside + int(mask[y, x]), total + 1
    return inside / mask.sum(), inside / total


class Marked:
    """One category whose defective images have white rectangles; the mask is where they are."""

    name = "marked"

    def __init__(self, *marks: tuple[slice, slice]):
        self.marks = marks
        self.records = [Record("part", "train", defective) for defective in (False, False, True)]

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        image, mask = np.full((SIDE, SIDE, 3), 10 + index, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        if self.records[index].defective:
            for mark in self.marks:
                image[mark], mask[mark] = 255, 1
        return Sample(image, mask, self.records[index].defective, "part", "train", str(index))


MARKS = {
    "a scratch right across the top": ((slice(5, 10), slice(0, 90)),),
    "one cell and a sliver of the next": ((slice(35, 55), slice(2, 32)),),
    "two corners": ((slice(0, 20), slice(0, 20)), (slice(70, 90), slice(70, 90))),
    "half of the image": ((slice(0, 90), slice(0, 45)),),
    "a frame along the border": (
        (slice(0, 4), slice(0, 90)), (slice(86, 90), slice(0, 90)), (slice(0, 90), slice(0, 4)),
        (slice(0, 90), slice(86, 90)),
    ),
    "everything": ((slice(0, 90), slice(0, 90)),),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKS)
def test_places_the_mask_covers_are_never_denied_and_doubtful_ones_never_asked(name):
    source = Marked(*MARKS[name])
    asked, where = {"Yes.": set(), "No.": set()}, set()
    for instance in instances(pair_difference(source), 150):
        for block in instance.blocks:
            (turn,) = block.turns
            place = place_asked(turn)
            if turn.question == prompts.WHERE_DIFFERENT and is_defective(block.images[0]):
                where.add(turn.answer)
            if place and is_defective(block.images[0]):
                asked[turn.answer].add(place)
    shares = {place: share_of_cell(source[2].mask, place) for place in PLACES}
    clear = {p for p, (of_mask, of_cell) in shares.items() if of_mask >= 0.25 or of_cell >= 0.5}
    assert asked["Yes."] == clear
    assert asked["No."] == {place for place, (of_mask, _) in shares.items() if of_mask == 0}
    assert not where & {prompts.at(place) for place in asked["No."]}, "one image, one truth"


def test_both_answers_are_common():
    answers = [
        turn.answer for instance in instances(pair_difference(Numbered()), 100) for block in instance.blocks
        for turn in block.turns if place_asked(turn)
    ]  # fmt: skip
    assert 0.15 < answers.count("Yes.") / len(answers) < 0.5, "or one of them is all that is learned"


def test_a_place_answered_yes_is_where_the_square_is():
    for instance in instances(pair_difference(Numbered())):
        for block in instance.blocks:
            for turn in block.turns:
                if place := place_asked(turn):
                    mask = white_mask(block.images[0])
                    assert turn.answer == ("Yes." if mask.any() and share_of_cell(mask, place)[0] >= 0.25 else "No.")


@pytest.mark.parametrize("good", [2, 3])
def test_with_few_good_images_the_first_is_never_its_own_second(good):
    for instance in instances(pair_difference(Numbered(good=good), pairs=6)):
        first = number(instance.shared[0])
        assert len(instance.blocks) == 6
        assert all(is_defective(block.images[0]) or number(block.images[0]) != first for block in instance.blocks)
