"""ROC and precision-recall curves averaged over categories and draws, so that the areas beneath are a table's means.

Each category's curve is read at the same places and the readings are averaged (vertical averaging). Pixels are counted
at LEVELS levels of the map, image by image, so that memory does not grow with the number of images. Sizes: n scores,
T thresholds, G places of GRID.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iadgpt_jax.evaluate.metrics import roc_curve

GRID = np.linspace(0, 1, 401)
LEVELS = 1 << 16  # of a category's maps, from lowest to highest


def roc_at_grid(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64[G]: true-positive rate at the false-positive rates of GRID. Raises ValueError as metrics.roc_curve."""
    return np.interp(GRID, *roc_curve(scores, labels))


def precision_at_grid(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float64[G]: precision at the recalls of GRID. Raises ValueError as metrics.roc_curve."""
    false, true = roc_curve(scores, labels)
    positives = np.count_nonzero(labels)
    return _precision_at_grid(false[1:] * (len(labels) - positives), true[1:] * positives)


def area_under_roc(at_grid: np.ndarray) -> float:
    """The area beneath a curve given at GRID."""
    return float(np.trapezoid(at_grid, GRID))


class PixelCounts:
    """How many good and how many defective pixels of one category lie at each level between `low` and `high`."""

    def __init__(self, low: float, high: float):
        self._low, self._step = low, (LEVELS - 1) / (high - low) if high > low else 0.0
        self._counts = np.zeros((2, LEVELS), np.int64)

    def add(self, map_: np.ndarray, mask: np.ndarray) -> None:
        """Count one image: map float[H, W], mask of the same size, anything but 0 is defective."""
        levels = np.clip((map_ - self._low) * self._step, 0, LEVELS - 1).astype(np.int32)
        levels += (mask != 0) * np.int32(LEVELS)
        self._counts += np.bincount(levels.ravel(), minlength=2 * LEVELS).reshape(2, LEVELS)

    @property
    def both(self) -> bool:
        """Whether there are good and defective pixels: without both there is no curve."""
        return bool(self._counts.any(axis=1).all())

    def roc_at_grid(self) -> np.ndarray:
        """As the function of that name, of all pixels added."""
        false, true = self._from_the_top()
        return np.interp(GRID, np.r_[0.0, false / false[-1]], np.r_[0.0, true / true[-1]])

    def precision_at_grid(self) -> np.ndarray:
        """As the function of that name, of all pixels added."""
        return _precision_at_grid(*self._from_the_top())

    def _from_the_top(self) -> tuple[np.ndarray, np.ndarray]:
        """int64[T] each: good and defective pixels at or above each level that any pixel has."""
        used = self._counts.any(axis=0)
        good, defective = self._counts[:, used][:, ::-1]
        return np.cumsum(good), np.cumsum(defective)


def mean_curve(curves: Sequence[np.ndarray]) -> np.ndarray | None:
    """float64[G]; None of none."""
    return np.mean(curves, axis=0) if len(curves) else None


def _precision_at_grid(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of counts above falling thresholds: the precision where each recall is first reached."""
    reached = np.searchsorted(true / true[-1], GRID - 1e-12)
    # Where no defective one is found yet, the first threshold that finds one counts.
    reached = np.maximum(reached, np.searchsorted(true, 0, side="right"))
    return (true / (true + false))[reached]
