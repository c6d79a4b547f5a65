"""What an inspection found. Nothing in it depends on a threshold but which of the two answers is the likelier."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from iadgpt_jax.infer.margin import probability


@dataclass(frozen=True)
class Inspection:
    """margin: log-odds of the answer that means "defective" against the other, above 0 where it is the likelier: what
    to rank and compare by. map float32[h, w]: attention of the anomaly words to every merged token of the query, on a
    scale of its own (compare maps of one category, not two models). answer: the likelier of the two verdicts, in the
    words of the detection prompt ("Yes", it is normal, or "No"). explanation: the answer to what is wrong ("" where
    none was asked for). size: (height, width) of the query's photograph in pixels.
    """

    margin: float
    map: np.ndarray
    answer: str
    explanation: str
    size: tuple[int, int]

    @property
    def score(self) -> float:
        """Probability, in [0, 1], of the answer that means "defective": for people. Sure verdicts tie in it."""
        return probability(self.margin)

    @property
    def defective(self) -> bool:
        """Whether the answer that means "defective" is the likelier one."""
        return self.margin > 0

    @property
    def pixel_map(self) -> np.ndarray:
        """float32[height, width]: the map brought to the photograph's size bilinearly."""
        height, width = self.size
        return cv2.resize(self.map, (width, height), interpolation=cv2.INTER_LINEAR)
