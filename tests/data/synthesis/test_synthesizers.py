"""Every synthesizer: its mask is exactly what it changed, a seed makes one picture, and no picture stops it."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.synthesis import cutpaste, nsa
from iadgpt_jax.data.synthesis.table import SYNTHESIZERS

NAMES = list(SYNTHESIZERS)


def make(name, image, seed, other=None):
    synthesizer, rng = SYNTHESIZERS[name], np.random.default_rng(seed)
    return synthesizer.make(image, rng, image if other is None else other) if synthesizer.another else (
        synthesizer.make(image, rng)
    )  # fmt: skip


@pytest.fixture(scope="module")
def images():
    source = ProceduralSource(0, categories=4)
    return [source[index].image for index in (0, 1, 16, 17, 32, 33, 48, 49)]


def median(values: np.ndarray, size: int) -> np.ndarray:
    """Of the size x size pixels around each, the border's repeated."""
    padded = np.pad(values, size // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return np.median(windows, axis=(-2, -1))


def seen_change(name, before, after) -> np.ndarray:
    """bool[H, W]: where the picture changed beyond the threshold the synthesizer states."""
    difference = np.abs(after.astype(float) - before)
    if name == "cutpaste":
        return difference.max(axis=-1) > cutpaste.CHANGED * 255
    return median(np.round(difference.mean(axis=-1)), nsa.FILTER) > nsa.MIDDLE


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_is_exactly_where_the_picture_changed(name, images):
    made = 0
    for seed in range(24):
        image, other = images[seed % 8], images[(seed + 1) % 8]
        before = image.copy()
        result = make(name, image, seed, other)
        np.testing.assert_array_equal(image, before, "the good picture stays as it is")
        if result is None:
            continue
        made += 1
        changed, mask = result
        assert changed.dtype == mask.dtype == np.uint8 and changed.shape == image.shape
        np.testing.assert_array_equal(mask, seen_change(name, image, changed))
        assert mask.any()
    assert made > 16


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_makes_the_same_and_another_makes_another(name, images):
    first, second, third = (make(name, images[0], seed, images[1]) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != third[0]).any()


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


ODD = {
    "uniform": np.full((56, 56, 3), 90, np.uint8),
    "black": np.zeros((56, 56, 3), np.uint8),
    "grey": np.repeat(noise(56, 56)[..., :1], 3, axis=-1),
    "gradient": np.repeat(np.tile(np.arange(56, dtype=np.uint8) * 4, (56, 1))[..., None], 3, axis=-1),
    "one pixel": noise(1, 1),
    "two by two": noise(2, 2),
    "three by three": noise(3, 3),
    "one row": noise(1, 60),
    "one column": noise(60, 1),
    "flat": noise(6, 90),
    "mirrored": noise(56, 40)[::-1, ::-1],
    "transposed": noise(56, 40).swapaxes(0, 1),
    "colours permuted": noise(40, 56)[..., (2, 0, 1)],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("picture", ODD)
def test_no_picture_stops_it(name, picture):
    image = ODD[picture]
    others = [None, noise(3, 7), noise(200, 30), ODD["uniform"]]
    for seed in range(12):
        result = make(name, image, seed, others[seed % 4])
        if result is not None:
            changed, mask = result
            assert changed.shape == image.shape and mask.shape == image.shape[:2] and mask.any()
            np.testing.assert_array_equal(mask, seen_change(name, image, changed))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_claimed_where_nothing_shows(name):
    uniform = ODD["uniform"]
    assert all(make(name, uniform, seed) is None for seed in range(10))


def test_nsa_leaves_no_seam_where_cutpaste_does(images):
    """Along the upper border of what changed, a paste has stronger edges than the good picture; a blend hardly has."""

    def steps(name, seed):
        good = images[seed % 8].astype(float).mean(axis=-1)
        result = make(name, images[seed % 8], seed, images[(seed + 1) % 8])
        if result is None:
            return 0.0
        made = result[0].astype(float).mean(axis=-1)
        rows, columns = np.nonzero(np.abs(made - good) > 0.5)
        line = slice(columns.min(), columns.max() + 1)
        top = rows.min()
        if top == 0:
            return 0.0
        return (np.abs(made[top, line] - made[top - 1, line]) - np.abs(good[top, line] - good[top - 1, line])).mean()

    seams = {name: np.mean([steps(name, seed) for seed in range(24)]) for name in NAMES}
    assert seams["nsa"] < seams["cutpaste"] / 2
