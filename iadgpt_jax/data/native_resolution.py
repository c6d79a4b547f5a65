"""Qwen's dynamic resolution: a photograph keeps its aspect, each side becomes a multiple of a merged token's pixels.

The result equals transformers' Qwen2VLImageProcessorPil pixel for pixel. The fixed-size mode (data/images.py) squashes
to a square instead, so the two agree only on photographs that are square already and of that size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from iadgpt_jax.data.patches import grid_of, patches_needed
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import VisionTower

INFO_KEY = "image_pixels"  # where a model's files keep its bounds, as [least, most]
MAX_ASPECT = 200


class PixelBounds(NamedTuple):
    """The least and the most pixels a photograph has after resizing; by default as published with Qwen2.5-VL
    (min_pixels and max_pixels of preprocessor_config.json)."""

    least: int = 56 * 56
    most: int = 12845056


PUBLISHED = PixelBounds()


def pixel_bounds_of(info: Mapping) -> PixelBounds:
    """The bounds a model's files name; the published ones where they name none.

    Raises InputError where they hold something else.
    """
    named = info.get(INFO_KEY, PUBLISHED)
    if not are_bounds(named):
        raise InputError(
            f"{INFO_KEY} in the model's files is {named!r}, not the least and the most pixels; restore what was written"
        )
    return PixelBounds(*named)


def are_bounds(named: Any) -> bool:
    """Whether a value, as JSON holds it, is (least, most): whole numbers, in order, from 1 up to what any photograph
    has."""
    whole = isinstance(named, list | tuple) and all(type(bound) is int for bound in named)
    return whole and len(named) == 2 and 1 <= named[0] <= named[1] < 2**53


def smart_resize(height: int, width: int, factor: int = 28, bounds: PixelBounds = PUBLISHED) -> tuple[int, int]:
    """The (height, width) in multiples of `factor` nearest to the photograph's, its area within the bounds.

    Rounding is half to even, as in the published code. Raises InputError for an aspect beyond 200.
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(
            f"a photograph of {height}×{width} pixels is too narrow (aspect at most {MAX_ASPECT}); cut it into tiles"
        )
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if high * wide > bounds.most:
        shrink = math.sqrt(height * width / bounds.most)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < bounds.least:
        grow = math.sqrt(bounds.least / (height * width))
        high, wide = math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return high, wide


def native_image(
    image: np.ndarray,
    vision: VisionTower,
    bounds: PixelBounds = PUBLISHED,
    budget: int | None = None,
) -> np.ndarray:
    """uint8[H, W, 3] resized (bicubic, antialiased) to sides of whole merged tokens.

    budget: patches an image slot holds; a larger photograph is reduced until its windows fit. Raises InputError where
    not even the smallest permitted size does.
    """
    factor = vision.patch * vision.merge
    high, wide = smart_resize(*image.shape[:2], factor, bounds)
    while budget is not None and patches_needed(grid_of((high, wide), vision), vision) > budget:
        smaller = smart_resize(*image.shape[:2], factor, PixelBounds(0, high * wide - 1))
        if math.prod(smaller) >= high * wide:
            raise InputError(
                f"a photograph of {image.shape[0]}×{image.shape[1]} pixels does not fit a slot of {budget} patches "
                f"even at {high}×{wide}; cut it into tiles or raise the budget"
            )
        high, wide = smaller
    if (high, wide) == image.shape[:2]:
        return image
    return np.array(Image.fromarray(image).resize((wide, high), Image.Resampling.BICUBIC))
