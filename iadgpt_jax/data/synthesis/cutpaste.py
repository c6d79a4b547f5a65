"""CutPaste: a patch of the image, cut out and pasted elsewhere (Li et al. 2021, whose sizes these are).

The mask is where pixels really changed, so pasting a patch onto its like makes no false label.
"""

from __future__ import annotations

import numpy as np

AREA = (0.02, 0.15)  # of the image
ASPECT = (0.3, 3.3)
CHANGED = 0.06  # of full range, the largest channel difference that still counts as equal
TRIES = 8


def cutpaste(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """uint8[H, W, 3] -> (image with one pasted patch, mask uint8[H, W]), or None if no try changed enough to see."""
    height, width = image.shape[:2]
    if min(height, width) < 3:  # no room for a patch of two pixels and another place
        return None
    for _ in range(TRIES):
        area = rng.uniform(*AREA) * height * width
        ratio = np.exp(rng.uniform(np.log(ASPECT[0]), np.log(ASPECT[1])))
        h = int(np.clip(np.sqrt(area * ratio), 2, height - 1))
        w = int(np.clip(np.sqrt(area / ratio), 2, width - 1))
        from_y, to_y = rng.integers(0, height - h + 1, 2)
        from_x, to_x = rng.integers(0, width - w + 1, 2)
        pasted = image.copy()
        pasted[to_y : to_y + h, to_x : to_x + w] = image[from_y : from_y + h, from_x : from_x + w]
        difference = np.abs(pasted.astype(np.int16) - image).max(axis=-1)
        mask = (difference > CHANGED * 255).astype(np.uint8)
        if mask.mean() > AREA[0] / 2:
            return pasted, mask
    return None
