"""What files hold beside plain pixels is read right or refused in one line, by us and by the exported twin."""

import io
import os
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.convert.torch_twin import photograph_iadgpt as twin
from iadgpt_jax.data import images
from iadgpt_jax.data.image_remarks import collected
from iadgpt_jax.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
SHAPE = np.zeros((12, 20), np.uint8)
SHAPE[3:6, 4:9] = 255


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def twin_reads(data, tmp_path):
    (tmp_path / "a.png").write_bytes(data)
    return twin.photograph(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "TGA", "PCX", "EPS", "SGI"])
def test_only_five_formats_are_decoded_whatever_the_name_says(kind, tmp_path):
    """Pillow decodes by content: an EPS file called a.png would be run by Ghostscript."""
    data = encoded(Image.fromarray(RGB), kind)
    with pytest.raises(InputError, match=r"a\.png is not an image"):
        images.decode_image(data, "a.png")
    with pytest.raises(ValueError, match=r"a\.png"):
        twin_reads(data, tmp_path)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_animations_and_several_pages_are_refused(kind, options, tmp_path):
    data = encoded(Image.fromarray(RGB), kind, save_all=True, append_images=[Image.fromarray(255 - RGB)], **options)
    for decode in (images.decode_image, images.decode_mask, images.upright_size):
        with pytest.raises(InputError, match=r"a\.png.*several pictures"):
            decode(data, "a.png")
    with pytest.raises(ValueError, match="several pictures"):
        twin_reads(data, tmp_path)


def test_pixels_of_32_bits_are_refused(tmp_path):
    data = encoded(Image.fromarray(np.full((12, 20), 70_000, np.int32)), "TIFF")
    with pytest.raises(InputError, match=r"a\.png.*32 bits.*8 or 16"):
        images.decode_image(data, "a.png")
    with pytest.raises(ValueError, match="32 bits"):
        twin_reads(data, tmp_path)


def test_a_camera_of_12_bits_in_16_is_named(tmp_path):
    """It is read as dark as it says it is: each image stretched by itself could not be compared with the next."""
    dark = np.linspace(0, 4095, 240).astype(np.uint16).reshape(12, 20)
    with collected() as remarks:
        read = images.decode_image(encoded(Image.fromarray(dark), "PNG"), "a.png")
    assert read.max() == round(4095 / 257)
    assert [name for name, _ in remarks] == ["a.png"] and "4095 of 65535" in remarks[0][1]
    with collected() as remarks:
        images.decode_image(encoded(Image.fromarray(dark * 16), "PNG"), "a.png")
    assert not remarks
    with pytest.warns(UserWarning, match="4095 of 65535"):
        twin_reads(encoded(Image.fromarray(dark), "PNG"), tmp_path)


def test_what_says_that_it_has_12_bits_is_scaled_by_those():
    """A TIFF by hand, since Pillow writes none of 12 bits: two pixels, 4095 and 2048, in three bytes."""
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I", 12) + bytes([0xFF, 0xF8, 0x00, 0]) + directory + bytes(4)
    with collected() as remarks:
        read = images.decode_image(data, "a.tif")
    assert read[..., 0].tolist() == [[255, round(2048 / 4095 * 255)]] and not remarks


def test_a_deep_image_takes_no_more_memory_than_a_plain_one():
    """At most twelve bytes a pixel above the file: 16-bit values, grey, RGB, and copies Pillow makes."""
    side = 1000
    data = encoded(Image.fromarray(np.full((side, side), 65_000, np.uint16)), "PNG")
    tracemalloc.start()
    read = images.decode_image(data, "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (read == round(65_000 / 257)).all() and peak <= 12 * side * side


def test_a_fifo_or_a_device_is_no_image(tmp_path):
    """Reading one would wait for ever, or never end."""
    os.mkfifo(tmp_path / "fifo.png")
    for path in (tmp_path / "fifo.png", "/dev/zero"):
        with pytest.raises(InputError, match="is no ordinary file"):
            images.read_bytes(path)
        with pytest.raises(ValueError, match="is no ordinary file"):
            twin.photograph(path)
    for path in ("a\0b.png", "x" * 60_000):
        with pytest.raises(InputError, match="no such image"):
            images.read_bytes(path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)  # holes: takes no room
    with pytest.raises(InputError, match=r"a\.png has .* bytes, at most"):
        images.read_bytes(path)


def test_a_bomb_is_refused_by_the_twin_too(tmp_path):
    with pytest.raises(ValueError, match="too large"):
        twin_reads(encoded(Image.new("1", (9_000, 9_000)), "PNG"), tmp_path)


# ---- masks ----


def with_alpha(colour, alpha):
    return encoded(Image.fromarray(np.dstack([colour, colour, colour, alpha])), "PNG")


def test_a_transparent_mask_whose_colours_agree_is_read():
    opaque = np.full_like(SHAPE, 255)
    for data in (with_alpha(SHAPE, opaque), with_alpha(SHAPE, SHAPE), with_alpha(SHAPE, opaque // 2)):
        np.testing.assert_array_equal(images.decode_mask(data, "m.png"), SHAPE > 0)


@pytest.mark.parametrize(
    "data",
    [
        with_alpha(np.full_like(SHAPE, 255), SHAPE),  # white under the transparent part: which is meant?
        with_alpha(np.zeros_like(SHAPE), SHAPE),  # drawn in black on nothing
        with_alpha(SHAPE, np.zeros_like(SHAPE)),
    ],
)
def test_a_mask_that_transparency_makes_ambiguous_is_refused(data):
    with pytest.raises(InputError, match=r"m\.png.*transparent"):
        images.decode_mask(data, "m.png")


def test_a_palette_mask_with_a_transparent_colour_is_judged_by_the_same_rule():
    palette = Image.fromarray(SHAPE // 255, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    np.testing.assert_array_equal(images.decode_mask(encoded(palette, "PNG", transparency=0), "m.png"), SHAPE > 0)
    with pytest.raises(InputError, match="transparent"):
        images.decode_mask(encoded(palette, "PNG", transparency=1), "m.png")


def test_a_masks_orientation_is_applied_as_a_photographs_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = images.decode_mask(encoded(Image.fromarray(SHAPE), "PNG", exif=exif), "m.png")
    np.testing.assert_array_equal(mask, np.rot90(SHAPE, -1) > 0)


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 60}), ("WEBP", {"quality": 60}), ("TIFF", {"compression": "jpeg"})]
)
def test_lossy_masks_count_their_lighter_half_and_are_named(kind, options):
    whole = np.kron(SHAPE, np.ones((16, 16), np.uint8))
    with collected() as remarks:
        mask = images.decode_mask(encoded(Image.fromarray(whole), kind, **options), "m.jpg")
    assert (mask != (whole > 0)).mean() < 0.002
    assert f"lossy: {kind} " in remarks[0][1]
    small = encoded(Image.fromarray(whole // 255 * 9), kind, **options)  # class numbers do not survive
    with pytest.raises(InputError, match=r"m\.jpg.*lossy.*PNG"):
        images.decode_mask(small, "m.jpg")


def test_a_lossless_webp_mask_is_not_lossy():
    with collected() as remarks:
        mask = images.decode_mask(encoded(Image.fromarray(SHAPE // 255), "WEBP", lossless=True), "m.webp")
    np.testing.assert_array_equal(mask, SHAPE > 0)
    assert not remarks


def test_a_mask_of_fractions_or_large_numbers_is_whatever_is_not_zero():
    for dtype, value in ((np.float32, 0.25), (np.int32, 70_000)):
        data = encoded(Image.fromarray((SHAPE > 0).astype(dtype) * dtype(value)), "TIFF")
        np.testing.assert_array_equal(images.decode_mask(data, "m.tif"), SHAPE > 0)
