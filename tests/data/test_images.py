"""Files of every kind become upright RGB; masks keep their smallest defects; what cannot be read is named."""

import io

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data import images
from iadgpt_jax.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def _save(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    path = _save(tmp_path / f"a{suffix}", Image.fromarray(RGB))
    np.testing.assert_array_equal(images.read_image(path), RGB)


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    grey = RGB[..., 0]
    np.testing.assert_array_equal(
        images.read_image(_save(tmp_path / "grey.png", Image.fromarray(grey))), np.repeat(grey[..., None], 3, -1)
    )
    palette = Image.fromarray(grey // 64, "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    path = _save(tmp_path / "palette.png", palette, transparency=b"\x00\xff\xff\x80")
    np.testing.assert_array_equal(images.read_image(path), colours[grey // 64])
    path = _save(tmp_path / "alpha.png", Image.fromarray(np.dstack([RGB, grey])))
    np.testing.assert_array_equal(images.read_image(path), RGB)


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    deep = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
    for name in ("deep.png", "deep.tif"):
        read = images.read_image(_save(tmp_path / name, Image.fromarray(deep)))
        np.testing.assert_array_equal(read[..., 0], np.round(deep / 65535 * 255))


def test_floating_point_pixels_are_refused(tmp_path):
    path = _save(tmp_path / "float.tif", Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(InputError, match="float.tif.*8 or 16 bits"):
        images.read_image(path)


def test_the_cameras_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    path = _save(tmp_path / "turned.png", Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(images.read_image(path), np.rot90(RGB, -1))
    assert not images.stores_pixels_plainly(path.read_bytes(), "turned.png")


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    whole = _save(tmp_path / "whole.png", Image.fromarray(RGB)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, says in (
        ("missing.png", "no such image"),
        ("text.png", "is not an image"),
        ("empty.jpg", "is not an image"),
        ("half.png", "cannot decode"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=says) as error:
            images.read_image(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("side", [9_000, 20_000])  # above our bound, and above Pillow's own
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, side):
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue()[:200])  # the header is enough; the pixels are not even there
    with pytest.raises(InputError, match="bomb.png is too large"):
        images.read_image(tmp_path / "bomb.png")


def test_a_mask_is_whatever_is_not_black(tmp_path):
    classes = np.zeros((12, 20), np.uint8)
    classes[3:5, 4:9] = 1
    classes[8, 2] = 255
    np.testing.assert_array_equal(images.read_mask(_save(tmp_path / "m.png", Image.fromarray(classes))), classes > 0)
    deep = Image.fromarray(classes.astype(np.uint16))
    np.testing.assert_array_equal(images.read_mask(_save(tmp_path / "deep.png", deep)), classes > 0)
    bits = Image.fromarray(classes > 0)
    np.testing.assert_array_equal(images.read_mask(_save(tmp_path / "bits.png", bits)), classes > 0)


def test_a_jpeg_masks_ringing_is_not_a_defect(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[20:44, 20:44] = 255
    path = _save(tmp_path / "m.jpg", Image.fromarray(mask), quality=60)
    np.testing.assert_array_equal(images.read_mask(path), mask > 0)


@pytest.mark.parametrize(("height", "width", "side"), [(60, 90, 28), (448, 448, 112), (37, 53, 28), (28, 10, 56)])
def test_mask_cells_are_the_union_of_the_pixels_they_overlap(height, width, side):
    mask = (np.random.default_rng(1).random((height, width)) < 0.01).astype(np.uint8)
    expected = np.zeros((side, side), np.uint8)
    for y, x in np.argwhere(mask):  # a pixel covers [y, y+1) x [x, x+1); cell i covers [i, i+1) * size / side
        rows = [i for i in range(side) if i * height < (y + 1) * side and (i + 1) * height > y * side]
        columns = [j for j in range(side) if j * width < (x + 1) * side and (j + 1) * width > x * side]
        expected[np.ix_(rows, columns)] = 1
    np.testing.assert_array_equal(images.resize_mask(mask, (side, side), "max_pool"), expected)


def test_one_defective_pixel_survives_any_reduction():
    mask = np.zeros((1000, 700), np.uint8)
    mask[613, 211] = 1
    small = images.resize_mask(mask, (28, 28), "max_pool")
    assert small.sum() == 1 and small[613 * 28 // 1000, 211 * 28 // 700] == 1


def test_photographs_are_reduced_without_aliasing():
    stripes = np.zeros((224, 224, 3), np.uint8)
    stripes[:, ::2] = 255
    small = images.resize_square(stripes, 56)
    assert small.shape == (56, 56, 3) and small.dtype == np.uint8
    np.testing.assert_allclose(small[:, 2:-2], 127, atol=2)
    assert images.resize_square(RGB[:12, :12], 12).base is not None  # nothing to do: nothing copied


def test_png_is_lossless_and_the_hash_follows_the_pixels():
    data = images.encode_png(RGB)
    np.testing.assert_array_equal(images.decode_image(data, "a"), RGB)
    assert images.stores_pixels_plainly(data, "a")
    assert images.pixel_hash(RGB) == images.pixel_hash(np.asfortranarray(RGB))
    assert images.pixel_hash(RGB) != images.pixel_hash(RGB.reshape(20, 12, 3))
    assert images.pixel_hash(RGB) != images.pixel_hash(RGB ^ 1)
