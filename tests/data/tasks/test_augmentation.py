"""Random views turn image and mask alike, and only change what the configuration lets them."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.tasks.augmentation import Augmentation
from tests.data.numbered import Numbered, instances, white_mask

TASKS = ["inspect", "pair_difference", "odd_one_out", "irregular_region"]


class Coloured(Numbered):
    """Red grows with the index, and the left half is blue: any flip and any permutation of colours shows."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample.image[..., 1] = 0
        sample.image[:, :20, 2] = 200
        sample.image[:15, :, 1] = 90
        return sample


def shown(name, **options) -> set[bytes]:
    ((task, _),) = build(Coloured(), {name: {"weight": 1.0, "synthetic": 0.0}}, **options)
    return {
        image.tobytes() for instance in instances(task, 30)
        for image in (*instance.shared, *(image for block in instance.blocks for image in block.images))
    }  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_without_augmentation_images_are_shown_as_they_are(name):
    source = Coloured()
    assert shown(name) <= {source[i].image.tobytes() for i in range(len(source))}


def views(augmentation, count=200):
    rng = np.random.default_rng(0)
    return [augmentation.draw(rng) for _ in range(count)]


def test_flips_and_colours_are_drawn_apart():
    image = Coloured()[1].image
    pixels = lambda view: {tuple(p) for p in view.image(image).reshape(-1, 3).tolist()}  # noqa: E731
    as_it_is = {tuple(p) for p in image.reshape(-1, 3).tolist()}
    flips, colours = views(Augmentation(flips=True)), views(Augmentation(colours=True))
    assert len({view.image(image).tobytes() for view in flips}) == 8
    assert all(pixels(view) == as_it_is for view in flips), "no colour that was not there"
    assert len({view.channels for view in colours}) == 6
    assert all((view.mask(image) == image).all() for view in colours), "nothing moves"
    assert len({view.image(image).tobytes() for view in views(Augmentation(flips=True, colours=True), 900)}) == 48


@pytest.mark.parametrize("name", TASKS)
def test_tasks_draw_from_the_configured_augmentation(name):
    assert shown(name, augmentation=Augmentation(flips=True)) - shown(name)
    assert shown(name, augmentation=Augmentation(colours=True)) - shown(name)


def test_views_turn_image_and_mask_alike():
    source = Numbered()
    for view in views(Augmentation(flips=True, colours=True), 30):
        for index, record in enumerate(source.records):
            if record.defective:
                image, mask = view.image(source[index].image), view.mask(source[index].mask)
                np.testing.assert_array_equal(white_mask(image), mask)
