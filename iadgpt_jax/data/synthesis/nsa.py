"""NSA: patches of another good image of the product, blended in without a seam (Schlüter et al. 2022, whose sizes these
are).

Published labels are a logistic function of the median-filtered intensity difference; the mask is where that is above
one half, which is where the difference is above MIDDLE. So it is exactly what changed enough to see.
"""

from __future__ import annotations

import cv2
import numpy as np

HALF_WIDTH = (0.03, 0.4)  # of the side: least + Γ(SHAPE, SCALE), cut to the most
SHAPE, SCALE = 2, 0.05
RESIZE = (0.7, 1.3)  # N(1, 0.5), cut to this
MIDDLE = 24  # of 255, of the mean over channels: where the logistic label is one half
FILTER = 5  # pixels across the median filter
LEAST = 50  # pixels of a patch, and of a mask, below which they are skipped
NARROWEST = 5  # pixels; OpenCV clones nothing narrower
TRIES = 8


def nsa(
    image: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """uint8[H, W, 3] -> (image with one or two patches blended in, mask uint8[H, W]), or None if no try changed enough.

    other: uint8[h, w, 3], where the patches come from, of any size; None: the image itself.
    """
    donor = image if other is None else other
    for _ in range(TRIES):
        blended = image
        for _ in range(rng.integers(1, 3)):
            blended = _blend(blended, donor, rng)
        mask = (changes(image, blended) > MIDDLE).astype(np.uint8)
        if mask.sum() >= LEAST:
            return blended, mask
    return None


def changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """uint8[H, W]: how far intensities differ, as the rounded mean over channels, median-filtered."""
    difference = np.abs(after.astype(np.int16) - before).mean(axis=-1)
    return cv2.medianBlur(np.rint(difference).astype(np.uint8), FILTER)


def _blend(image: np.ndarray, donor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image with one patch of the donor, which keeps its gradients and takes the colours around it (Poisson, normal
    clone). As it is where the patch came out too small."""
    factor = np.clip(rng.normal(1, 0.5), *RESIZE)
    sizes, corners, places = [], [], []
    for side, of_donor in zip(image.shape[:2], donor.shape[:2], strict=True):
        half = np.clip(HALF_WIDTH[0] + rng.gamma(SHAPE, SCALE), *HALF_WIDTH) * side
        taken = max(min(int(2 * half), of_donor), 1)
        # The clone needs a pixel of the image around the patch, whose colours it takes.
        size = max(min(int(taken * factor), side - 2), 0)
        corners.append(slice(start := int(rng.integers(0, of_donor - taken + 1)), start + taken))
        places.append(int(rng.integers(1, max(side - size, 2))))
        sizes.append(size)
    if sizes[0] * sizes[1] < LEAST or min(sizes) < NARROWEST:
        return image
    patch = cv2.resize(np.ascontiguousarray(donor[tuple(corners)]), sizes[::-1], interpolation=cv2.INTER_AREA)
    centre = (places[1] + sizes[1] // 2, places[0] + sizes[0] // 2)
    whole = np.full(tuple(sizes), 255, np.uint8)
    return cv2.seamlessClone(patch, np.ascontiguousarray(image), whole, centre, cv2.NORMAL_CLONE)
