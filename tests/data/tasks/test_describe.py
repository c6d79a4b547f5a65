"""Descriptions are of good images of the chosen categories."""

from __future__ import annotations

import dataclasses

import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, instances, is_defective
from tests.data.photographs import draw_dataset
from tools import prepare_data


def describe(source, **options):
    ((task, _),) = build(source, {"describe": {"weight": 1.0}}, **options)
    return task


def test_the_three_captions_of_an_image_are_asked_for():
    (instance,) = instances(describe(Numbered()), 1)
    assert [block.turns[0].question for block in instance.blocks] == list(prompts.DESCRIBE)
    assert [block.turns[0].answer for block in instance.blocks] == ["It is a disc.", "It is steel.", "It is smooth."]
    assert len(instance.shared) == 1 and all(block.sees == 1 and not block.images for block in instance.blocks)


def test_every_good_image_is_described_and_no_defective_one():
    """A caption says what the product is like; of a part with a hole "it is smooth" is false."""
    task = describe(Numbered(categories=2, good=3, defective=4))
    described = list(instances(task, len(task)))
    assert len(described) == 6 and not any(is_defective(instance.shared[0]) for instance in described)
    assert [instance.notes["key"] for instance in described] == ["0", "1", "2", "7", "8", "9"]


def test_only_chosen_categories_are_described():
    task = describe(Numbered(categories=3, good=2, defective=1), categories=["product_1"])
    assert [instance.notes["key"] for instance in instances(task, len(task))] == ["3", "4"]


class PartlyCaptioned(Numbered):
    """Only the images at the indices `captioned` have captions."""

    def __init__(self, captioned):
        super().__init__(categories=1, good=4, defective=0)
        self.records = tuple(
            dataclasses.replace(record, captioned=index in captioned) for index, record in enumerate(self.records)
        )

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample if self.records[index].captioned else dataclasses.replace(sample, captions=())


def test_an_image_without_captions_is_left_out():
    said = []
    task = describe(PartlyCaptioned({1, 3}), say=said.append)
    assert [instance.notes["key"] for instance in instances(task, len(task))] == ["1", "3"]
    assert said == ["2 of 4 good images of source numbered have no captions: task describe leaves them out"]


class Captioned(Numbered):
    """Captions as given for each index; where there are none, none."""

    def __init__(self, captions: dict, **options):
        super().__init__(**options)
        self.captions = captions
        self.records = tuple(
            dataclasses.replace(record, captioned=any(captions.get(index, ())))
            for index, record in enumerate(self.records)
        )

    def __getitem__(self, index):
        return dataclasses.replace(super().__getitem__(index), captions=self.captions.get(index, ()))


def test_descriptions_need_captions():
    with pytest.raises(InputError, match="no captions.*words.jsonl.*procedural"):
        describe(Captioned({}))


def test_an_image_without_one_of_the_three_is_described_by_the_others():
    task = describe(Captioned({0: ("A disc.", "", "Smooth.")}, categories=1))
    (instance,) = instances(task, 1)
    asked = [(block.turns[0].question, block.turns[0].answer) for block in instance.blocks]
    assert asked == [(prompts.DESCRIBE[0], "A disc."), (prompts.DESCRIBE[2], "Smooth.")]


def test_images_without_captions_are_left_out_and_counted():
    said = []
    task = describe(
        Captioned({1: ("A disc.", "Steel.", "Smooth."), 2: ("", "", "")}, categories=1, good=3), say=said.append
    )
    assert [instance.notes["key"] for instance in instances(task, len(task))] == ["1"]
    assert said == ["2 of 3 good images of source numbered have no captions: task describe leaves them out"]


WORDS = """\
{"key": "bolt", "captions": ["A bolt.", "Of steel.", "Grey."]}
{"key": "bolt/train/good/000.png", "captions": ["A long bolt.", "", "Grey."]}
"""


@pytest.mark.parametrize("prepared", [False, True], ids=["folder", "prepared"])
def test_captions_beside_a_folder_reach_the_task(tmp_path, prepared):
    root = draw_dataset(tmp_path / "parts")
    (root / "words.jsonl").write_text(WORDS)
    source = FolderSource(root, side=28)
    if prepared:
        prepare_data.main(["--dataset=folder", f"--source={root}", f"--out={tmp_path / 'out'}", "--processes=1"])
        source = PreparedSource(tmp_path / "out", side=28)
    task = describe(source, say=lambda line: None)
    told = {
        instance.notes["key"]: [block.turns[0].answer for block in instance.blocks]
        for instance in instances(task, len(task))
    }
    assert told.pop("bolt/train/good/000.png") == ["A long bolt.", "Grey."]
    assert told and all(key.startswith("bolt/") for key in told), "nuts have no captions"
    assert set(map(tuple, told.values())) == {("A bolt.", "Of steel.", "Grey.")}
