"""Places: the cells of a 3×3 grid at thirds of an image, in the words that answers about position use.

Tasks name the place of a defect with `place_on_grid`, and ask about others with `clear_places`; evaluation compares
places by their `cell`.
"""

from __future__ import annotations

import numpy as np

from iadgpt_jax.data.sources.sample import Sample

# Raster order: the place of cell (row, column) is PLACES[3 * row + column].
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")


def place_on_grid(mask: np.ndarray) -> str:
    """Names the cell of the 3×3 grid that holds the centroid of a mask; the fullest cell where that one is empty, as
    between two parts of a defect.

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
    defective, _ = _pixels_of_cells(mask)
    return PLACES[3 * row + column if defective[3 * row + column] else int(defective.argmax())]


def place_of(sample: Sample) -> str | None:
    """The place of a sample's defect; None on good samples and where no mask shows it."""
    if not sample.defective or sample.mask is None or not sample.mask.any():
        return None
    return place_on_grid(sample.mask)


def clear_places(mask: np.ndarray) -> tuple[list[str], list[str]]:
    """(places that clearly hold a defect, places that hold nothing of it); those in between are in neither.

    A cell holds it clearly with a quarter of the defect's pixels, or with half of its own pixels defective.

    Args:
      mask: uint8[H, W] (or bool), anything other than 0 is defective.
    """
    defective, size = _pixels_of_cells(mask)
    clear = (defective > 0) & ((4 * defective >= defective.sum()) | (2 * defective >= size))
    return [PLACES[i] for i in np.flatnonzero(clear)], [PLACES[i] for i in np.flatnonzero(defective == 0)]


def _pixels_of_cells(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(defective pixels int[9], all pixels int[9]) of the cells in raster order; a pixel is where its centre is."""
    height, width = mask.shape
    rows = 3 * (2 * np.arange(height) + 1) // (2 * height)
    columns = 3 * (2 * np.arange(width) + 1) // (2 * width)
    cells = (3 * rows[:, None] + columns).ravel()
    return np.bincount(cells[mask.ravel() != 0], minlength=9), np.bincount(cells, minlength=9)


def cell(place: str) -> tuple[int, int]:
    """(row, column) of a place in `PLACES`, each 0, 1 or 2. Raises ValueError for any other word."""
    if place not in PLACES:
        raise ValueError(f"unknown place {place!r}; the 3×3 grid has {', '.join(PLACES)}.")
    return divmod(PLACES.index(place), 3)
