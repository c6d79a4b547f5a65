"""Photographs and masks from files, safely, and how they are resized.

Files come from users: the pixel count is bounded before anything is decoded, the camera's orientation is applied, every
mode becomes RGB, and what cannot be read ends in an `InputError` that names the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from iadgpt_jax.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 80_000_000  # 240 MB as RGB; larger line scans should be cut into tiles
MASK_RESIZE = ("max_pool", "nearest")
_ORIENTATION = 0x0112  # EXIF tag
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # what Pillow calls 16-bit grey, by byte order and format


def read_image(path: str | Path) -> np.ndarray:
    """The photograph in a file as uint8[H, W, 3]. Raises InputError naming the file."""
    return decode_image(read_bytes(path), str(path))


def read_mask(path: str | Path) -> np.ndarray:
    """The mask in a file as uint8[H, W] in {0, 1}. Raises InputError naming the file."""
    return decode_mask(read_bytes(path), str(path))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file. Raises InputError where it is missing, a folder or not readable."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"no such image: {path}; check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not an image; name one file") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error


def decode_image(data: bytes, name: str, side: int | None = None) -> np.ndarray:
    """The photograph in encoded bytes as uint8[H, W, 3]; `name` is what an InputError calls it.

    side: it will be squashed to side x side. A JPEG four times as large in both directions or more is then read at a
    half, a quarter or an eighth of its size, never below twice the side, which takes a fraction of the time; squashed,
    it differs by a grey level or two from the whole one. Elsewhere, and where side is None, every pixel is read.
    """
    with _opened(data, name) as image:
        if side is not None and image.format == "JPEG":
            image.draft(None, (2 * side, 2 * side))
        return to_rgb(image)


def upright_size(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of the photograph in encoded bytes, as it is decoded whole; reads no pixels."""
    with _opened(data, name) as image:
        turned = image.getexif().get(_ORIENTATION, 1) >= 5
        return image.size if turned else image.size[::-1]


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """The mask in encoded bytes as uint8[H, W] in {0, 1}: whatever is not black is defective.

    A JPEG rings around edges, so there only the lighter half of the range counts.
    """
    with _opened(data, name) as image:
        threshold = 128 if image.format == "JPEG" else 1
        if image.mode in _SIXTEEN_BITS or image.mode == "F":  # may hold small class numbers: no scaling
            values = np.asarray(image)
        else:
            values = np.asarray(image.convert("RGB")).max(axis=-1)
        return (values >= threshold).astype(np.uint8)


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode, upright, as uint8[H, W, 3].

    16-bit grey is scaled by 1/257, always, so that references and query stay comparable. Transparency is dropped, as
    transformers does. Raises ValueError for floating-point images, whose range is anyone's guess.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode in _SIXTEEN_BITS:
        grey = np.clip(np.asarray(image, np.int64), 0, 65535)
        return np.repeat(np.round(grey / 257).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def stores_pixels_plainly(data: bytes, name: str) -> bool:
    """Whether any decoder gives these bytes the same pixels: an upright 8-bit grey or RGB JPEG or PNG."""
    with _opened(data, name) as image:
        return (
            image.format in ("JPEG", "PNG") and image.mode in ("L", "RGB") and image.getexif().get(_ORIENTATION, 1) == 1
        )


def encode_png(image: np.ndarray) -> bytes:
    """A uint8[H, W, 3] or uint8[H, W] array as PNG bytes, lossless."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def resize_square(image: np.ndarray, side: int) -> np.ndarray:
    """A photograph squashed to uint8[side, side, 3] by antialiased bicubic interpolation."""
    if image.shape[:2] == (side, side):
        return image
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def resize_mask(mask: np.ndarray, size: tuple[int, int], rule: str) -> np.ndarray:
    """A mask uint8[H, W] in {0, 1} as uint8[size], size (height, width), by one of MASK_RESIZE:

    max_pool: for training. A cell is 1 where any pixel it overlaps is, so a defect of one pixel survives every
    reduction; the mask grows by up to a cell on every side.
    nearest: for metrics, as the field measures. A cell is the pixel under its centre, so areas stay what they are; a
    defect smaller than a cell may be lost.

    """
    if mask.shape == tuple(size):
        return mask
    if rule == "nearest":
        return np.array(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    for axis in (0, 1):
        if mask.shape[axis] != size[axis]:
            mask = _any_per_cell(mask, size[axis], axis)
    return mask


def pixel_hash(image: np.ndarray) -> str:
    """The SHA-256 of a photograph's shape and pixels, in hex: equal for equal pixels however they were stored."""
    digest = hashlib.sha256(str(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _any_per_cell(mask: np.ndarray, cells: int, axis: int) -> np.ndarray:
    size = mask.shape[axis]
    edges = np.arange(cells + 1) * size
    starts, ends = edges[:-1] // cells, -(-edges[1:] // cells)  # exact integers: floor of the start, ceiling of the end
    # From each start to the next, and the last pixel, which the next cell may begin with. Ten times as fast as sums.
    return np.maximum.reduceat(mask, starts, axis) | np.take(mask, ends - 1, axis)


@contextlib.contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """A Pillow image over the bytes, its size checked; whatever decoding raises inside becomes an InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is stricter and an error
            image = Image.open(io.BytesIO(data))
        if image.width * image.height <= MAX_PIXELS:
            yield image
            return
        size = f"{image.width}x{image.height} pixels"
    except Image.DecompressionBombError:
        size = "its size"
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image; expected one of {', '.join(IMAGE_SUFFIXES)}") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:  # what Pillow's plugins raise
        raise InputError(f"cannot decode {name}: {error}; replace the file or save it again") from error
    raise InputError(f"{name} is too large ({size}, at most {MAX_PIXELS:,}); reduce it or cut it into tiles")
