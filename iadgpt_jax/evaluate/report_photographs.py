"""The photographs that a report shows, out of their dataset, by key."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate.protocol import keys_of

LONGEST = 448  # pixels of the longer side that is kept: a page shows no more


class Photographs:
    """Looks up those of the wanted keys that a source has, and reads them one at a time when they are asked for."""

    def __init__(self, source: Source | None, wanted: Iterable[str]):
        self._source, self._places = source, {}
        wanted = set(wanted)
        if source is not None and wanted:
            self._places = {key: index for index, key in enumerate(keys_of(source)) if key in wanted}

    def get(self, key: str) -> np.ndarray | None:
        """uint8[H, W, 3], no larger than LONGEST; None where the dataset is not at hand or has no such photograph.
        Raises InputError where the dataset has it and it cannot be read."""
        place = self._places.get(key)
        if place is None:
            return None
        image = self._source[place].image
        scale = LONGEST / max(image.shape[:2])
        if scale >= 1:
            return image
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def viewpoint(self, key: str) -> str:
        """From where a photograph was taken; "" where nobody says."""
        place = self._places.get(key)
        return "" if place is None else self._source.records[place].viewpoint
