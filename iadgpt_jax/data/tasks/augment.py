"""One random view shared by all images of an instance: a product photographed from another side, in other colours."""

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

    @classmethod
    def draw(cls, rng: np.random.Generator, colours: bool = True) -> View:
        flips = rng.integers(0, 2, 3).astype(bool)
        channels = tuple(int(c) for c in rng.permutation(3)) if colours else (0, 1, 2)
        return cls(bool(flips[0]), bool(flips[1]), bool(flips[2]), channels)

    def image(self, image: np.ndarray) -> np.ndarray:
        return self._turn(image)[..., self.channels]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        return self._turn(mask)

    def _turn(self, array: np.ndarray) -> np.ndarray:
        if self.flip_rows:
            array = array[::-1]
        if self.flip_columns:
            array = array[:, ::-1]
        if self.transpose and array.shape[0] == array.shape[1]:
            array = array.swapaxes(0, 1)
        return array


AS_IT_IS = View()
