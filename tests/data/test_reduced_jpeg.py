"""Large JPEGs are read at a fraction of their size: less work, nearly the same pixels, masks untouched."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from configs.stage3 import get_config
from iadgpt_jax.data.images import decode_image, resize_square, upright_size
from iadgpt_jax.data.run_sources import open_sources
from iadgpt_jax.data.sources import load
from iadgpt_jax.data.sources.folder import FolderSource
from tests.data.photographs import draw_dataset

SIDE = 56


def photograph(height: int, width: int) -> np.ndarray:
    """Like a photograph: power in all scales, most of it in large ones."""
    rng = np.random.default_rng(0)
    image = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        noise = rng.normal(0, 60 / cells**0.5, (cells, cells, 3))
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 128, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("times", "read"), [(1, 1), (3, 1), (4, 2), (7, 2), (8, 4), (16, 8), (30, 8)])
def test_what_is_read_is_never_below_twice_the_side(times, read):
    data = jpeg(photograph(times * SIDE, times * SIDE))
    assert decode_image(data, "x", side=SIDE).shape == (times * SIDE // read, times * SIDE // read, 3)
    assert decode_image(data, "x").shape == (times * SIDE, times * SIDE, 3)


@pytest.mark.parametrize("times", (4, 8, 16))
def test_squashed_it_differs_by_a_grey_level_or_two(times):
    data = jpeg(photograph(times * SIDE, (times + 1) * SIDE))
    whole, reduced = (resize_square(decode_image(data, "x", side), SIDE).astype(int) for side in (None, SIDE))
    assert np.abs(whole - reduced).mean() < 1 and np.abs(whole - reduced).max() <= 12


def test_other_formats_are_read_whole():
    buffer = io.BytesIO()
    Image.fromarray(photograph(448, 448)).save(buffer, "PNG")
    assert decode_image(buffer.getvalue(), "x", side=SIDE).shape == (448, 448, 3)


def test_a_turned_photograph_keeps_its_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = jpeg(photograph(448, 672), exif=exif)
    assert decode_image(data, "x", side=SIDE).shape == (168, 112, 3)
    assert upright_size(data, "x") == decode_image(data, "x").shape[:2] == (672, 448)


def test_a_folders_masks_are_those_of_the_whole_photograph(tmp_path):
    root = draw_dataset(tmp_path, ("bolt",), height=448, width=560)
    for path in root.rglob("*.png"):
        if not path.name.endswith("_mask.png"):
            Image.open(path).save(path.with_suffix(".jpg"), quality=92)
            path.unlink()
    whole, reduced = (FolderSource(root, side=SIDE, reduced=reduced) for reduced in (False, True))
    for one, other in zip(whole, reduced, strict=True):
        assert one.image.shape == other.image.shape == (SIDE, SIDE, 3)
        assert (one.mask is None) == (other.mask is None)
        if one.mask is not None:
            np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize("reduced", [True, False])
def test_a_run_reads_its_sources_as_the_configuration_says(reduced, tmp_path, monkeypatch):
    root = draw_dataset(tmp_path / "parts", ("bolt",))
    config = get_config("tiny")
    config.sources = {"parts": {"path": str(root)}}
    config.reduced_jpeg = reduced
    asked = []
    decode = load.decode_image
    monkeypatch.setattr(load, "decode_image", lambda data, name, side=None: asked.append(side) or decode(data, name))
    (one,) = open_sources(config)
    one.source[0]
    assert asked == [config.image_side if reduced else None]
