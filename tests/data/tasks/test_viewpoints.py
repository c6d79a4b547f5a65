"""Images that are compared show the same side of a product: references and queries share the viewpoint."""

from __future__ import annotations

import dataclasses

import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.tasks.task_source import TaskSource
from tests.data.numbered import Numbered, instances, number


class Cameras(Numbered):
    """Every other image of each category is taken by the camera C2, the rest by C1; product_1 was only seen by one."""

    def __init__(self, **options):
        super().__init__(**options)
        self.records = tuple(
            dataclasses.replace(record, viewpoint="" if record.category == "product_1" else f"C{index % 2 + 1}")
            for index, record in enumerate(self.records)
        )


def test_a_category_is_listed_once_for_each_viewpoint():
    source = TaskSource(Cameras(categories=2, good=4, defective=2))
    assert [(str(c), c.name, c.good, c.defective) for c in source.categories] == [
        ("product_0 C1", "product_0", (0, 2), (4,)),
        ("product_0 C2", "product_0", (1, 3), (5,)),
        ("product_1", "product_1", (6, 7, 8, 9), (10, 11)),
    ]


@pytest.mark.parametrize("name", ["inspect", "pair_difference", "odd_one_out"])
def test_an_instance_shows_one_viewpoint(name):
    source = Cameras()
    ((task, _),) = build(source, {name: {"weight": 1.0}})
    seen = set()
    for instance in instances(task):
        images = [*instance.shared, *(image for block in instance.blocks for image in block.images)]
        (shown,) = {(source.records[number(i)].category, source.records[number(i)].viewpoint) for i in images}
        seen.add(shown)
    assert len(seen) == 5


def test_chosen_categories_come_with_all_their_viewpoints():
    source = TaskSource(Cameras(), ["product_2"])
    assert [str(category) for category in source.categories] == ["product_2 C1", "product_2 C2"]
