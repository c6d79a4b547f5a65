"""Masks are brought to the image's size by two rules: training keeps every defect, metrics use nearest neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data import images
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.errors import InputError
from tests.data.photographs import draw_dataset
from tools import prepare_data


@pytest.mark.parametrize("height, width, to", [(60, 90, (28, 28)), (37, 53, (28, 28)), (28, 10, (56, 42))])
def test_nearest_takes_the_pixel_under_the_centre_of_the_cell(height, width, to):
    mask = (np.random.default_rng(0).random((height, width)) < 0.3).astype(np.uint8)
    rows, columns = (
        ((2 * np.arange(cells) + 1) * size) // (2 * cells) for cells, size in zip(to, (height, width), strict=True)
    )
    np.testing.assert_array_equal(images.resize_mask(mask, to, "nearest"), mask[np.ix_(rows, columns)])


def test_nearest_keeps_areas_that_max_pooling_makes_larger():
    """A square of 100 pixels that begins in the middle of cells of 10: ten cells wide by nearest, eleven by pooling."""
    mask = np.zeros((1000, 1000), np.uint8)
    mask[204:304, 504:604] = 1
    areas = {rule: int(images.resize_mask(mask, (100, 100), rule).sum()) for rule in images.MASK_RESIZE}
    assert areas == {"nearest": mask.sum() // 100, "max_pool": 11 * 11}


def drawn(mask_path) -> np.ndarray:
    return np.asarray(Image.open(mask_path)) // 255


@pytest.mark.parametrize("prepared", [False, True], ids=["folder", "prepared"])
def test_sources_resize_masks_by_the_rule_they_were_opened_with(tmp_path, prepared):
    """Also where the images were squashed when they were prepared: masks are stored whole."""
    folder = draw_dataset(tmp_path / "folder")
    whole = drawn(folder / "bolt/ground_truth/bent_pin/000_mask.png")
    dataset = folder
    if prepared:
        dataset = tmp_path / "prepared"
        prepare_data.main(["--dataset=folder", f"--source={folder}", f"--out={dataset}", "--side=56"])
    for side in (28, None):
        for rule in ("nearest", "max_pool"):
            source = open_source(str(dataset), side=side, mask_resize=rule)
            sample = next(s for s in (source[i] for i in range(len(source))) if s.key.endswith("bent_pin/000.png"))
            shape = (side, side) if side else (56, 56) if prepared else whole.shape
            assert sample.mask.shape == sample.image.shape[:2] == shape
            np.testing.assert_array_equal(sample.mask, images.resize_mask(whole, sample.mask.shape, rule))
    default, pooled = open_source(str(dataset), side=28), open_source(str(dataset), side=28, mask_resize="max_pool")
    for index, record in enumerate(default.records):
        if record.defective and default[index].mask is not None:
            np.testing.assert_array_equal(default[index].mask, pooled[index].mask)


def test_an_unknown_rule_is_refused(tmp_path):
    with pytest.raises(InputError, match="mask_resize is 'area'; choose max_pool or nearest"):
        open_source(str(draw_dataset(tmp_path / "folder")), side=28, mask_resize="area")
