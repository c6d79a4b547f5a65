"""Photograph and mask brought to one size, on the way out of a source."""

from __future__ import annotations

import dataclasses

from iadgpt_jax.data.images import resize_mask, resize_square
from iadgpt_jax.data.sources.sample import Sample


def squash(sample: Sample, side: int | None, mask_resize: str = "max_pool") -> Sample:
    """The sample at side x side pixels, or at its image's size where side is None; the mask by the rule `mask_resize`
    (data/images.resize_mask)."""
    image, more = sample.image, sample.more_images
    if side is not None:
        image, more = resize_square(image, side), tuple(resize_square(one, side) for one in more)
    mask = None if sample.mask is None else resize_mask(sample.mask, image.shape[:2], mask_resize)
    return dataclasses.replace(sample, image=image, mask=mask, more_images=more)
