"""What a source hands out: one photograph with everything known about it.

A source is a random-access sequence. Its `records` tell what each index holds without touching a pixel, so
tasks can choose images by category and label first and load only what they chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Record:
    """What is known about an image before it is loaded."""

    category: str
    split: str  # "train" or "test"
    defective: bool


@dataclass(frozen=True)
class Defect:
    """The facts of one defect, in words a reasoning answer can use. Its place follows from the mask."""

    kind: str  # a noun phrase without article: "scratch", "missing part"
    cause: str  # a noun phrase: "contact with a sharp tool"
    remedy: str  # an imperative: "cover the tool edge"


@dataclass(frozen=True)
class Sample:
    """One photograph: image uint8[H, W, 3], mask uint8[H, W] in {0, 1} (all zero on good parts) and its words."""

    image: np.ndarray
    mask: np.ndarray | None  # None: defective, but nobody drew where
    defective: bool
    category: str
    split: str
    key: str  # unique and stable: the name a protocol file may cite
    captions: tuple[str, ...] = ()  # (shape, material and structure, surface), or nothing
    defect: Defect | None = None


class Source(Protocol):
    """A sequence of samples with a table of contents.

    A source that can tell whether a defective sample's mask shows anything without reading its photograph has a method
    `has_mask(index) -> bool`. Otherwise those samples are read.
    """

    name: str
    records: Sequence[Record]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
