"""Dynamic resolution against transformers' own processor with the published settings, pixel for pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as published

from iadgpt_jax.data.native_resolution import PixelBounds, native_image, smart_resize
from iadgpt_jax.data.patches import grid_of, patches_needed, to_patches
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.qwen2_5_vl.config import VisionConfig
from iadgpt_jax.models.qwen2_5_vl.vision import IMAGE_MEAN, IMAGE_STD
from tests.models.qwen2_5_vl.qwen_pair import small_config, window_patches

VISION = VisionConfig()


@pytest.fixture(scope="module")
def processor(shared_dir):
    values = json.loads((shared_dir / "qwen2_5_vl_7b" / "preprocessor_config.json").read_text())
    return Qwen2VLImageProcessorPil(**values)


def test_smart_resize_is_the_published_one():
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(1, 3000, (300, 2)).tolist(), [28, 28], [42, 70], [4000, 6000], [5, 900], [14, 14], [1, 200]]
    for height, width in sizes:
        if max(height, width) > 200 * min(height, width):
            with pytest.raises(InputError, match="too narrow"):
                smart_resize(height, width)
            continue
        for bounds in ((3136, 12845056), (200_000, 300_000)):
            assert smart_resize(height, width, 28, PixelBounds(*bounds)) == published(height, width, 28, *bounds)


def raster_to_pixels(values, grid):
    """transformers' patches back to an image: float32[H, W, 3] still normalised, its first temporal slice."""
    _, high, wide = grid
    split = values.reshape(high // 2, wide // 2, 2, 2, 3, 2, 14, 14)[:, :, :, :, :, 0]
    return split.transpose(0, 2, 5, 1, 3, 6, 4).reshape(high * 14, wide * 14, 3)


@pytest.mark.parametrize("size", [(448, 448), (100, 333), (30, 31), (57, 900), (613, 401)])
def test_pixels_equal_transformers(processor, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    check_pixels(processor, image)


def test_photographs_equal_transformers(processor, shared_dir):
    for category in ("cookie", "commutator"):
        file = sorted((shared_dir / "data" / "real_iad_mini" / category / "train" / "good").iterdir())[0]
        picture = Image.open(file).convert("RGB")
        for crop in ((0, 0, 448, 448), (10, 30, 310, 430), (0, 100, 448, 190)):
            check_pixels(processor, np.array(picture.crop(crop)))


def check_pixels(processor, image):
    out = processor(images=[Image.fromarray(image)], return_tensors="np")
    theirs = raster_to_pixels(out["pixel_values"], out["image_grid_thw"][0])
    ours = native_image(image, VISION)
    mean, std = np.float32(IMAGE_MEAN), np.float32(IMAGE_STD)
    np.testing.assert_array_equal(ours, np.round((theirs * std + mean) * 255).astype(np.uint8))
    # The model's own normalisation, on device: equal to a last place of float32.
    np.testing.assert_allclose((ours.astype(np.float32) / 255 - mean) / std, theirs, atol=5e-7)


def test_a_slot_budget_is_kept():
    rng = np.random.default_rng(2)
    for height, width in rng.integers(20, 1500, (30, 2)):
        image = np.zeros((height, width, 3), np.uint8)
        fitted = native_image(image, VISION, budget=1024)
        assert patches_needed(grid_of(fitted.shape, VISION), VISION) <= 1024
        free = native_image(image, VISION)
        if patches_needed(grid_of(free.shape, VISION), VISION) <= 1024:
            assert fitted.shape == free.shape
    with pytest.raises(InputError, match="does not fit a slot of 64 patches"):
        native_image(np.zeros((100, 19000, 3), np.uint8), VISION, budget=64)


def test_patches_lie_as_the_model_reads_them():
    """The packer's patches against plain loops over windows, units and patches."""
    config = small_config()
    for high, wide in ((4, 4), (3, 5), (1, 1), (2, 7)):
        image = np.random.default_rng(3).integers(0, 256, (high * 28, wide * 28, 3), dtype=np.uint8)
        patches = to_patches(image, config.vision)
        looped = window_patches(image, config, len(patches))
        inside = (patches != 0).any(axis=1)  # edges of partial windows are filled differently, and never read
        assert inside.sum() == high * wide * 4
        np.testing.assert_array_equal(patches[inside], looped[inside])
