"""What an inspection found. Nothing in it depends on a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Inspection:
    """score: probability, in [0, 1], of the answer that means "defective". map float32[h, w]: attention of the anomaly
    words to every merged token of the query, on a scale of its own (compare maps of one category, not two models).
    answer: the likelier of the two verdicts, in the template's words: "Yes, it is normal" or "No". explanation: the
    answer to what is wrong ("" where none was asked for). size: (height, width) of the query's photograph in pixels.
    """

    score: float
    map: np.ndarray
    answer: str
    explanation: str
    size: tuple[int, int]

    @property
    def pixel_map(self) -> np.ndarray:
        """float32[height, width]: the map brought to the photograph's size bilinearly."""
        height, width = self.size
        return cv2.resize(self.map, (width, height), interpolation=cv2.INTER_LINEAR)
