"""Photographs and masks from files, safely, and how they are resized.

Files come from users: only five formats are decoded, the pixel count is bounded before anything is, the camera's
orientation is applied, every mode becomes RGB, and what cannot be read ends in an `InputError` that names the file.
What can be read but may mean something else is remarked (image_remarks.py).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from iadgpt_jax.data.image_remarks import remark
from iadgpt_jax.errors import InputError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # Pillow goes by content, and would hand an EPS file to Ghostscript
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_PIXELS = 80_000_000  # 240 MB as RGB; larger line scans should be cut into tiles
MASK_RESIZE = ("max_pool", "nearest")
MAX_BYTES = 1_000_000_000  # of a file: those pixels at 16 bits and uncompressed have half of it
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258  # EXIF and TIFF tags
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")  # what Pillow calls 16-bit grey, by byte order
_JPEG = ("JPEG", "MPO")  # a camera's MPO is a JPEG with further views behind it


def read_image(path: str | Path) -> np.ndarray:
    """The photograph in a file as uint8[H, W, 3]. Raises InputError naming the file."""
    return decode_image(read_bytes(path), str(path))


def read_mask(path: str | Path) -> np.ndarray:
    """The mask in a file as uint8[H, W] in {0, 1}. Raises InputError naming the file."""
    return decode_mask(read_bytes(path), str(path))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file. Raises InputError where it is missing, a folder, no ordinary file (reading a FIFO could wait
    for ever), too large or not readable."""
    try:
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path} is a folder, not an image; name one file")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is no ordinary file but a device or a pipe; save the image to a file first")
        if found.st_size > MAX_BYTES:
            raise InputError(f"{path} has {found.st_size:,} bytes, at most {MAX_BYTES:,} are read; cut it into tiles")
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a name with a null character
        raise InputError(f"no such image: {_short(path)}; check the path") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"no such image: {_short(path)}; check the path") from error
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error


def decode_image(data: bytes, name: str, side: int | None = None) -> np.ndarray:
    """The photograph in encoded bytes as uint8[H, W, 3]; `name` is what an InputError calls it.

    side: it will be squashed to side x side. A JPEG four times as large in both directions or more is then read at a
    half, a quarter or an eighth of its size, never below twice the side, which takes a fraction of the time; squashed,
    it differs by a grey level or two from the whole one. Elsewhere, and where side is None, every pixel is read.
    """
    with _opened(data, name) as image:
        if side is not None and image.format in _JPEG:
            image.draft(None, (2 * side, 2 * side))
        return to_rgb(image, name)


def upright_size(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of the photograph in encoded bytes, as it is decoded whole; reads no pixels."""
    with _opened(data, name) as image:
        turned = image.getexif().get(_ORIENTATION, 1) >= 5
        return image.size if turned else image.size[::-1]


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """The mask in encoded bytes as uint8[H, W] in {0, 1}, upright: whatever is not black is defective.

    Lossy compression rings around edges, so there only the lighter half of the range counts, and class numbers are
    refused. So is a mask that would be another one if transparent pixels were taken for background.
    """
    with _opened(data, name) as image:
        lossy, kind = _is_lossy(image, data), image.format
        image = ImageOps.exif_transpose(image)
        if image.mode in (*_SIXTEEN_BITS, "I", "F"):  # may hold small class numbers or fractions: no scaling
            return (np.nan_to_num(np.asarray(image)) != 0).astype(np.uint8)
        hidden = None
        if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            hidden = np.asarray(image.getchannel("A")) == 0
        values = np.asarray(image.convert("RGB")).max(axis=-1)
        lightest = int(values.max(initial=0))
        if lossy and 0 < lightest < 128:
            raise ValueError(f"it is lossy and no pixel is lighter than {lightest} of 255: is it a mask at all?")
        if lossy:
            remark(name, f"is lossy: {kind} changes pixels, so its lighter half counts as defective")
        mask = values >= (128 if lossy else 1)
        if hidden is not None and hidden.any() and ((mask & hidden).any() or not mask.any()):
            raise ValueError("it is partly transparent, and what is meant is a guess")
        return mask.astype(np.uint8)


def to_rgb(image: Image.Image, name: str = "an image") -> np.ndarray:
    """A Pillow image of any mode, upright, as uint8[H, W, 3].

    16-bit grey is scaled by 1/257, always, so that references and query stay comparable; where three quarters of the
    range are unused, that is remarked about `name`. Only what says itself that it has 12 bits is scaled by those.
    Transparency is dropped, as transformers does. Raises ValueError for floating-point and 32-bit pixels, whose range
    is anyone's guess.
    """
    twelve = image.format == "TIFF" and image.tag_v2.get(_BITS_PER_SAMPLE) == (12,)
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode == "I":
        raise ValueError("pixels of 32 bits, or signed ones, have no agreed range; save it with 8 or 16 bits")
    if image.mode in _SIXTEEN_BITS:
        grey = np.asarray(image)
        lightest = int(grey.max(initial=0))
        if not twelve and 0 < lightest < 2**14:
            remark(
                name,
                "is 16-bit and dark, as a camera's 10 or 12 bits are, and is read that dark (scale the values to 16 "
                f"bits first): its lightest pixel has {lightest} of 65535",
            )
        return np.repeat(_eight_bits(4095 if twelve else 65535)[grey][..., None], 3, axis=-1)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


@functools.cache
def _eight_bits(white: int) -> np.ndarray:
    """uint8[65536]: a grey level of which `white` is the lightest, to 8 bits. A table, for it needs no wide copies."""
    return np.clip(np.round(np.arange(65536) * (255 / white)), 0, 255).astype(np.uint8)


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    if image.format == "TIFF":
        return image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    if image.format != "WEBP":
        return image.format in _JPEG
    at = 12  # after RIFF, its size and WEBP come chunks: a name, a size, and so many bytes, made even
    while at + 8 <= len(data):
        if data[at : at + 4] in (b"VP8 ", b"VP8L"):
            return data[at : at + 4] == b"VP8 "
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return True


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
    return resize_to(image, (side, side))


def resize_to(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photograph squashed to uint8[*size, 3], size (height, width), by antialiased bicubic interpolation."""
    if image.shape[:2] == tuple(size):
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


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
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height <= MAX_PIXELS:
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise ValueError("it holds several pictures, an animation or pages")
            yield image
            return
        size = f"{image.width}x{image.height} pixels"
    except Image.DecompressionBombError:
        size = "its size"
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image; expected one of {', '.join(FORMATS)}") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:  # what Pillow's plugins raise
        raise InputError(f"cannot decode {name}: {error}; replace the file, or save it as plain PNG") from error
    raise InputError(f"{name} is too large ({size}, at most {MAX_PIXELS:,}); reduce it or cut it into tiles")


def _short(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:200]}…"
