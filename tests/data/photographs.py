"""A small dataset in MVTec layout, drawn for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw_dataset(root: Path, categories: tuple[str, ...] = ("bolt", "nut"), height: int = 60, width: int = 90) -> Path:
    """Two categories, each with 3 good training images, 2 good and 3 defective test images; the third has no mask."""
    rng = np.random.default_rng(0)
    for category in categories:
        base = root / category
        for folder, count in (("train/good", 3), ("test/good", 2), ("test/bent_pin", 3)):
            (base / folder).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(base / folder / f"{index:03d}.png")
        (base / "ground_truth/bent_pin").mkdir(parents=True)
        for index in range(2):
            mask = np.zeros((height, width), np.uint8)
            mask[10 + index : 14, 20:23] = 255
            Image.fromarray(mask).save(base / f"ground_truth/bent_pin/{index:03d}_mask.png")
    return root
