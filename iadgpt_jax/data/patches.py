"""Pixels to patches: the uint8 layout that the vision tower (models/qwen2_5_vl/vision.py) takes."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.models.protocols import VisionTower


def grid_of(image_shape: tuple[int, ...], vision: VisionTower) -> tuple[int, int]:
    """Merged tokens (high, wide) of an image whose sides are multiples of patch · merge."""
    unit = vision.patch * vision.merge
    height, width = image_shape[:2]
    if height % unit or width % unit:
        raise ValueError(f"image of {height}×{width} pixels: sides must be multiples of {unit}")
    return height // unit, width // unit


def patches_needed(grid: tuple[int, int], vision: VisionTower) -> int:
    """Patches an image takes in window order, its edge windows padded to full size."""
    units = vision.window_units
    return -(-grid[0] // units) * -(-grid[1] // units) * (units * vision.merge) ** 2


def to_patches(image: np.ndarray, vision: VisionTower) -> np.ndarray:
    """uint8[H, W, 3] -> uint8[P, 3·patch²], windows row-major, then merged units, then the patches of a unit."""
    high, wide = grid_of(image.shape, vision)
    units, merge, patch = vision.window_units, vision.merge, vision.patch
    pad = ((0, -high % units * merge * patch), (0, -wide % units * merge * patch), (0, 0))
    if any(sum(p) for p in pad):
        image = np.pad(image, pad)
    rows, columns = image.shape[0] // (units * merge * patch), image.shape[1] // (units * merge * patch)
    split = image.reshape(rows, units, merge, patch, columns, units, merge, patch, 3)
    ordered = split.transpose(0, 4, 1, 5, 2, 6, 8, 3, 7)  # window, unit, patch in unit, channel, pixel
    return ordered.reshape(-1, vision.patch_values)


def from_patches(patches: np.ndarray, grid: tuple[int, int], vision: VisionTower) -> np.ndarray:
    """The inverse of `to_patches`: uint8[≥ P, 3·patch²] of an image of `grid` merged tokens -> uint8[H, W, 3]."""
    units, merge, patch = vision.window_units, vision.merge, vision.patch
    rows, columns = -(-grid[0] // units), -(-grid[1] // units)
    ordered = patches[: patches_needed(grid, vision)]
    ordered = ordered.reshape(rows, columns, units, units, merge, merge, 3, patch, patch)
    split = ordered.transpose(0, 2, 4, 7, 1, 3, 5, 8, 6)
    image = split.reshape(rows * units * merge * patch, columns * units * merge * patch, 3)
    return image[: grid[0] * merge * patch, : grid[1] * merge * patch]
