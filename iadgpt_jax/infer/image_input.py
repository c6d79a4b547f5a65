"""What a caller may hand over as a photograph: a path, a Pillow image or an array; all become uint8[H, W, 3]."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from iadgpt_jax.data.images import read_image, to_rgb
from iadgpt_jax.errors import InputError

ImageInput = str | Path | Image.Image | np.ndarray


def as_list(value: Iterable[ImageInput] | ImageInput) -> list[ImageInput]:
    """A list of photographs, also where just one was given."""
    one = isinstance(value, str | Path | Image.Image) or (isinstance(value, np.ndarray) and value.ndim < 4)
    return [value] if one else list(value)


def as_photograph(value: ImageInput, least: int) -> np.ndarray:
    """As `as_image`, of something to inspect: both sides have `least` pixels or more. A smaller one shows nothing, yet
    would be judged."""
    image = as_image(value)
    if min(image.shape[:2]) < least:
        told = value if isinstance(value, str | Path) else "a photograph"
        raise InputError(
            f"{told} is {image.shape[1]}x{image.shape[0]} pixels, less than one token ({least}x{least}); give a larger "
            "photograph of the product"
        )
    return image


def as_image(value: ImageInput) -> np.ndarray:
    """uint8[H, W, 3], upright. Arrays are uint8[H, W, 3] or grey uint8[H, W]. Raises InputError for anything else."""
    if isinstance(value, str | Path):
        return read_image(str(value).removeprefix("file://"))
    if isinstance(value, Image.Image):
        try:
            return to_rgb(value)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot decode the image {value!r}: {error}") from error
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.size:
        if value.ndim == 2:
            return np.repeat(value[..., None], 3, axis=-1)
        if value.ndim == 3 and value.shape[-1] == 3:
            return value
    told = (
        f"an array {value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    )
    raise InputError(f"{told} is no photograph: give a path, a Pillow image or an array uint8[height, width, 3]")
