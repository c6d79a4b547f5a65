"""CutPaste pastes a patch of the image itself, and its mask is exactly what changed."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.synthesis.cutpaste import AREA, ASPECT, CHANGED, cutpaste


@pytest.fixture(scope="module")
def images():
    source = ProceduralSource(0, categories=4)
    return [source[i * 16].image for i in range(4)]


def test_the_mask_is_where_pixels_changed(images):
    for seed in range(40):
        image = images[seed % 4]
        before = image.copy()
        made = cutpaste(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, before)
        if made is None:
            continue
        pasted, mask = made
        change = np.abs(pasted.astype(int) - image).max(axis=-1)
        np.testing.assert_array_equal(mask, change > CHANGED * 255)
        assert mask.dtype == np.uint8 and mask.mean() > AREA[0] / 2


def test_what_is_pasted_is_one_rectangle_of_the_image():
    """On noise every changed pixel lies in a box of the published area and aspect, which occurs elsewhere unchanged."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    for seed in range(40):
        pasted, _ = cutpaste(image, np.random.default_rng(seed))
        rows, columns = np.nonzero((pasted != image).any(axis=-1))
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        h, w = bottom - top, right - left
        # Sides are whole pixels, cut to the image; a border line of noise may by chance match its source.
        assert AREA[0] * 0.8 < h * w / (64 * 80) < AREA[1] * 1.01
        assert ASPECT[0] * 0.8 < h / w < ASPECT[1] * 1.25
        patch = pasted[top:bottom, left:right]
        places = np.lib.stride_tricks.sliding_window_view(image, (h, w), axis=(0, 1))
        assert (places == patch.transpose(2, 0, 1)).all(axis=(2, 3, 4)).any()


def test_a_picture_too_plain_to_show_a_paste_gives_none():
    assert cutpaste(np.full((56, 56, 3), 90, np.uint8), np.random.default_rng(0)) is None


def test_the_same_seed_pastes_the_same(images):
    first, second = (cutpaste(images[0], np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
