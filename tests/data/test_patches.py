"""Patches lie where the vision tower looks for them, for any size of image."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.patches import grid_of, patches_needed, to_patches
from iadgpt_jax.models.qwen2_5_vl.config import VisionConfig
from iadgpt_jax.models.qwen2_5_vl.vision import window_order
from iadgpt_jax.models.registry import preset

CONFIGS = {"tiny": preset("tiny").vision, "7b": preset("7b").vision, "odd": VisionConfig(patch=8, merge=2, window=48)}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("grid", [(4, 4), (8, 4), (1, 1), (3, 5), (1, 9), (7, 2), (5, 5)])
def test_pixels_come_back_from_the_rows_and_columns_the_model_reads(name, grid):
    """Every patch is written where qwen2_5_vl/vision.window_order has its slot; together they are the image."""
    config = CONFIGS[name]
    unit = config.patch * config.merge
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (grid[0] * unit, grid[1] * unit, 3), dtype=np.uint8)
    patches = to_patches(image, config)
    assert patches.dtype == np.uint8 and patches.flags.c_contiguous
    assert grid_of(image.shape, config) == grid
    assert len(patches) == patches_needed(grid, config)

    order = window_order(config, np.array([grid], np.int32), len(patches))
    valid = np.asarray(order.valid[0])
    assert valid.sum() == grid[0] * grid[1] * config.merge**2
    rebuilt = np.full_like(image, 99)
    written = np.zeros(image.shape[:2], int)
    for patch, (row, column) in zip(patches[valid], np.asarray(order.hw[0])[valid], strict=True):
        side = config.patch
        here = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        rebuilt[here] = patch.reshape(3, side, side).transpose(1, 2, 0)
        written[here] += 1
    assert (written == 1).all()
    np.testing.assert_array_equal(rebuilt, image)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 1), (6, 2)])
def test_merged_tokens_are_listed_in_raster_order(grid):
    """`raster` finds for token (row, column) the merge group whose first patch lies there, in a larger budget too."""
    config = CONFIGS["tiny"]
    budget = patches_needed((6, 6), config)
    order = window_order(config, np.array([grid], np.int32), budget)
    assert np.asarray(order.token_valid[0]).sum() == grid[0] * grid[1]
    for token in range(grid[0] * grid[1]):
        first = np.asarray(order.hw[0])[int(order.raster[0, token]) * config.merge**2]
        assert tuple(first // config.merge) == divmod(token, grid[1])


def test_sides_that_are_no_multiple_of_a_token_are_refused():
    with pytest.raises(ValueError, match="multiples of 28"):
        to_patches(np.zeros((112, 100, 3), np.uint8), CONFIGS["tiny"])


def test_views_and_read_only_images_are_taken():
    """Tasks hand on flipped and transposed views of cached read-only arrays."""
    image = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    image.flags.writeable = False
    view = image[::-1, ::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(to_patches(view, CONFIGS["tiny"]), to_patches(view.copy(), CONFIGS["tiny"]))
