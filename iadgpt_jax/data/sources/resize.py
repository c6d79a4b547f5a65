"""Photograph and mask squashed together, on the way out of a source."""

from __future__ import annotations

import dataclasses

import numpy as np

from iadgpt_jax.data.images import resize_mask, resize_square
from iadgpt_jax.data.sources.sample import Sample


def squash_arrays(image: np.ndarray, mask: np.ndarray | None, side: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """uint8[H, W, 3] and uint8[H, W] as uint8[side, side, 3] and uint8[side, side]; unchanged where side is 0 or
    None."""
    if not side:
        return image, mask
    return resize_square(image, side), None if mask is None else resize_mask(mask, side)


def squash(sample: Sample, side: int | None) -> Sample:
    """The sample at side x side pixels; as it is where side is None."""
    if not side:
        return sample
    image, mask = squash_arrays(sample.image, sample.mask, side)
    more = tuple(resize_square(one, side) for one in sample.more_images)
    return dataclasses.replace(sample, image=image, mask=mask, more_images=more)
