"""Categories with few good images give the shots they can, are left out with a word, and stop nothing."""

from __future__ import annotations

import shutil

import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, instances, is_defective, number
from tests.data.photographs import draw_dataset

STAGE_3 = {
    "inspect": {"weight": 0.52}, "pair_difference": {"weight": 0.2}, "odd_one_out": {"weight": 0.14},
    "irregular_region": {"weight": 0.14},
}  # fmt: skip


def built(source, parts, **options):
    """(tasks by name, lines said)."""
    said: list[str] = []
    return {task.name: task for task, _ in build(source, parts, say=said.append, **options)}, said


@pytest.mark.parametrize("good,shots", [(2, {1}), (3, {1, 2}), (4, {1, 2}), (5, {1, 2, 4}), (9, {1, 2, 4})])
def test_inspect_uses_the_shots_a_category_can_give(good, shots):
    tasks, said = built(Numbered(good=good), {"inspect": {"weight": 1.0}})
    seen = set()
    for instance in instances(tasks["inspect"]):
        references = [number(image) for image in instance.shared]
        assert len(references) == len(set(references)) == max(shots)
        assert not any(is_defective(image) for image in instance.shared)
        for block in instance.blocks:
            seen.add(block.sees)
            assert number(block.images[-1]) not in references, "a query is never one of its references"
    assert seen == shots and said == []


def test_a_category_that_can_give_none_is_left_out_with_one_line():
    tasks, said = built(Numbered(good=[8, 1, 5, 0]), {"inspect": {"weight": 1.0}})
    assert {instance.notes["category"] for instance in instances(tasks["inspect"])} == {"product_0", "product_2"}
    assert len(tasks["inspect"]) == 2 * 8
    (line,) = said
    assert "inspect needs 2 or more good images" in line and "product_1 (1), product_3 (0)" in line


def test_stage_3_goes_on_with_the_tasks_that_two_images_can_serve():
    tasks, said = built(Numbered(good=2), STAGE_3)
    assert list(tasks) == ["inspect", "pair_difference", "irregular_region"]
    for task in tasks.values():
        assert len(list(instances(task, 20))) == 20
    (line,) = said
    assert "odd_one_out needs 3 or more good images" in line and "the task is left out" in line


@pytest.mark.parametrize("good", [0, 1])
def test_without_any_category_for_its_main_task_a_stage_stops_in_one_line(good):
    with pytest.raises(InputError, match="task inspect needs 2 or more good images of a category.*product_0"):
        built(Numbered(good=good), STAGE_3)


def test_many_categories_left_out_are_named_in_part():
    _, said = built(Numbered(good=[5] + [1] * 20), {"inspect": {"weight": 1.0}})
    assert "product_8 (1) and 12 more" in said[0] and "product_9" not in said[0]


def test_a_folder_with_a_category_of_defective_photographs_alone_trains_on_the_others(tmp_path):
    root = draw_dataset(tmp_path / "parts", ("bolt", "nut", "ring"))
    for folder in ("nut/train/good", "nut/test/good", "ring/train/good"):
        shutil.rmtree(root / folder)
    tasks, said = built(FolderSource(root, side=28), STAGE_3)
    assert {instance.notes["category"] for instance in instances(tasks["inspect"])} == {"bolt", "ring"}
    assert any("inspect needs 2 or more good images of a category: it leaves out nut (0)" in line for line in said)
    assert all("bolt" not in line and "ring" not in line for line in said if "leaves out" in line and "inspect" in line)
