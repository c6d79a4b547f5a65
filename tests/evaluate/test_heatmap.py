"""Maps survive as 16-bit PNGs, and overlays glow where the map is high and nowhere else."""

import cv2
import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.evaluate.heatmap import outline, overlay, save_map_png16


def read_back(path) -> np.ndarray:
    """The map in its own units, as the scale noted inside says."""
    with Image.open(path) as image:
        low, high = float(image.info["low"]), float(image.info["high"])
        return low + np.asarray(image, np.float64) / 65535 * (high - low)


@pytest.mark.parametrize("low,high", [(0.0, 1.0), (-3.5, 12.25), (1e-6, 3e-5)])
def test_a_map_survives_the_png_to_one_part_in_65535(tmp_path, low, high):
    map_ = np.random.default_rng(0).uniform(low, high, (17, 23)).astype(np.float32)
    save_map_png16(tmp_path / "map.png", map_, low, high)
    assert np.abs(read_back(tmp_path / "map.png") - map_).max() <= (high - low) / 65535
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]  # nothing left aside
    raw = cv2.imread(str(tmp_path / "map.png"), cv2.IMREAD_UNCHANGED)  # another reader sees 16 bits, one channel
    assert raw.dtype == np.uint16 and raw.shape == (17, 23)
    np.testing.assert_allclose(raw / 65535, (map_ - low) / (high - low), atol=1 / 65535)


def test_values_beyond_the_scale_are_clipped_and_an_empty_scale_is_refused(tmp_path):
    save_map_png16(tmp_path / "map.png", np.array([[-1.0, 0.5, 9.0]]), 0, 1)
    np.testing.assert_allclose(read_back(tmp_path / "map.png"), [[0, 0.5, 1]], atol=1 / 65535)
    with pytest.raises(ValueError, match="high must be above low"):
        save_map_png16(tmp_path / "map.png", np.zeros((2, 2)), 1, 1)


def test_an_overlay_glows_where_the_map_is_high():
    image = np.full((112, 112, 3), 120, np.uint8)
    map_ = np.zeros((4, 4), np.float32)
    map_[0, 0] = 2.0
    picture = overlay(image, map_, 0, 1)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    assert (picture[60:, 60:] == 120).all()  # cold: the grey photograph as it is
    red, green, blue = picture[8, 8].astype(int)
    assert red > 200 and green > 180 and blue < red  # hot: inferno's yellow
    assert (overlay(image, map_, 1, 1) == 120).all()  # a scale of no extent shows nothing


def test_a_mask_is_outlined_not_filled():
    image = np.zeros((100, 100, 3), np.uint8)
    mask = np.zeros((50, 50), np.uint8)
    mask[10:40, 10:40] = 7
    picture = outline(image, mask)
    assert (picture[50, 50] == 0).all() and (picture[2, 2] == 0).all()
    assert picture[20:80, 18:24].max() == 255
    assert (image == 0).all()  # the input is left alone
    marked = overlay(np.full((100, 100, 3), 90, np.uint8), np.zeros((4, 4)), 0, 1, mask)
    assert marked.max() == 255
