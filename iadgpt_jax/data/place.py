"""Where on the image a defect is, in words: the 3×3 grid at thirds that answers about position use.

Tasks name the place of a defect with `place_on_grid`; evaluation compares places by their `cell`.
"""

from __future__ import annotations

import numpy as np

# Raster order: the place of cell (row, column) is PLACES[3 * row + column].
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")


def place_on_grid(mask: np.ndarray) -> str:
    """Names the cell of the 3×3 grid that holds the centroid of a mask.

    Args:
      mask: uint8[H, W] (or bool), anything other than 0 is defective.

    Returns:
      One of `PLACES`. A centroid exactly on a border belongs to the cell right of it or below it.

    Raises:
      ValueError: the mask is not a picture, or empty.
    """
    if mask.ndim != 2:
        raise ValueError(f"place_on_grid: the mask has shape {mask.shape}; pass one mask of shape [H, W].")
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        raise ValueError("place_on_grid: the mask is empty; a place exists only where there is a defect.")
    height, width = mask.shape
    # In integers, 3 · Σ(2i + 1) // (2 · n · H): where a centroid on a border goes must not depend on rounding.
    row = int(3 * (2 * int(rows.sum()) + rows.size) // (2 * rows.size * height))
    column = int(3 * (2 * int(columns.sum()) + columns.size) // (2 * columns.size * width))
    return PLACES[3 * row + column]


def cell(place: str) -> tuple[int, int]:
    """(row, column) of a place in `PLACES`, each 0, 1 or 2. Raises ValueError for any other word."""
    if place not in PLACES:
        raise ValueError(f"unknown place {place!r}; the 3×3 grid has {', '.join(PLACES)}.")
    return divmod(PLACES.index(place), 3)
