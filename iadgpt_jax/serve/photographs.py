"""Photographs that clients send: refused by what they are, decoded as strictly as files, kept small while they wait."""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from iadgpt_jax.data.images import FORMATS, MAX_PIXELS, decode_image, resize_to
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.image_input import as_photograph
from iadgpt_jax.serve.refusals import Refused, invalid

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Photograph:
    """name: the client's. square: uint8[*canvas, 3], what the model sees. shown: the photograph, its longer side at
    most so many pixels, to draw on; size: its own (height, width) in pixels."""

    name: str
    square: np.ndarray
    shown: np.ndarray
    size: tuple[int, int]


def decoded(data: bytes, name: str, beside: Sequence[np.ndarray] = (), most: int = MAX_PIXELS) -> np.ndarray:
    """uint8[H, W, 3]. beside: pictures uint8[H, W, 3] that the same request keeps; all together have at most `most`
    pixels, which is found out before this one is decoded.

    Raises:
      Refused: 415 for what is no image, 413 for too many pixels, 400 for a damaged one.
    """
    name = name[:80] or "a photograph"
    try:
        # Only the header is read here, and FORMATS are as in data/images.py.
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError as error:
        raise Refused("too_large", f"{name} has more than {MAX_PIXELS:,} pixels; reduce it") from error
    except Image.UnidentifiedImageError as error:
        raise Refused("unsupported_type", f"{name} is no image; send one of {', '.join(FORMATS)}") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error):  # what Pillow's plugins raise
        pixels = 0  # decode_image says what is wrong
    if pixels > MAX_PIXELS:
        raise Refused("too_large", f"{name} has {pixels:,} pixels, at most {MAX_PIXELS:,} are read; reduce it")
    together = pixels + sum(picture.shape[0] * picture.shape[1] for picture in beside)
    if together > most:
        raise Refused("too_large", f"the photographs have {together:,} pixels together, at most {most:,}; reduce them")
    try:
        return decode_image(data, name)
    except InputError as error:
        raise invalid(error) from error


def to_inspect(data: bytes, name: str, canvas: tuple[int, int], unit: int, shown_side: int) -> Photograph:
    """A photograph as the server keeps it until it was inspected. Raises Refused as `decoded`."""
    picture = decoded(data, name)
    try:
        as_photograph(picture, unit)
    except InputError as error:
        raise invalid(error) from error
    name = name.encode(errors="replace").decode()  # a form's charset may make halves of characters, which no JSON holds
    return Photograph(name, resize_to(picture, canvas), at_most(picture, shown_side), picture.shape[:2])


def at_most(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture uint8[H, W, 3] with its longer side at most `side` pixels, its shape kept."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def of_data_url(url: object) -> bytes:
    """The bytes in a data URL. Nothing is fetched from elsewhere: a server that does can be sent to its own network."""
    if not isinstance(url, str) or not (start := _DATA_URL.match(url)):
        raise Refused("invalid_request", "send images as data URLs, data:image/png;base64,…; no other address is read")
    try:
        return base64.b64decode(url[start.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("invalid_request", f"an image's data URL is not base64 ({error})") from error
