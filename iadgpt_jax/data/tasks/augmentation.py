"""Augmentation: one random view shared by all images of an instance, as if the product were turned and repainted.

It helps training from scratch. Pretrained weights need no such help: permuted colours lie outside what they know and
make every colour word false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """Flips, a transpose (square images only) and a permutation of colour channels; applies to images and masks."""

    flip_rows: bool = False
    flip_columns: bool = False
    transpose: bool = False
    channels: tuple[int, int, int] = (0, 1, 2)

    def image(self, image: np.ndarray) -> np.ndarray:
        """uint8[H, W, 3] -> the same, as this view shows it."""
        return self._turn(image)[..., self.channels]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """uint8[H, W] -> the same, as this view shows it."""
        return self._turn(mask)

    def _turn(self, array: np.ndarray) -> np.ndarray:
        if self.flip_rows:
            array = array[::-1]
        if self.flip_columns:
            array = array[:, ::-1]
        if self.transpose and array.shape[0] == array.shape[1]:
            array = array.swapaxes(0, 1)
        return array


@dataclass(frozen=True)
class Augmentation:
    """What a view may change (config.augment). flips: mirror images and transpose them. colours: permute red, green and
    blue."""

    flips: bool = False
    colours: bool = False

    def draw(self, rng: np.random.Generator) -> View:
        rows, columns, transpose = rng.integers(0, 2, 3).astype(bool) if self.flips else (False, False, False)
        channels = tuple(int(c) for c in rng.permutation(3)) if self.colours else (0, 1, 2)
        return View(bool(rows), bool(columns), bool(transpose), channels)


NO_AUGMENTATION = Augmentation()
