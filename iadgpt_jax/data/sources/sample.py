"""What a source hands out: one photograph with everything known about it.

A source is a random-access sequence. Its `records` tell what each index holds without touching a pixel, so
tasks can choose images by category and label first and load only what they chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

IMAGE_MARK = "<image>"  # stands in the question of an exchange where an image is shown


@dataclass(frozen=True)
class Record:
    """What is known about an image before it is loaded."""

    category: str
    split: str  # "train", "validation" or "test"
    defective: bool | None  # None: nobody said (instruction data, parts to inspect)
    viewpoint: str = ""  # the camera's place; one product's references and queries share it; "": there is only one
    kind: str = ""  # of defect, as a noun phrase; "" on good parts and where nobody said
    masked: bool = True  # whether the mask is known; False: defective, but nobody drew where
    captioned: bool = False  # whether the sample has captions, one at least
    exchanges: int = 0  # questions with answers that come with the image (instruction data)


@dataclass(frozen=True)
class Defect:
    """The facts of one defect, in words a reasoning answer can use. Its place follows from the mask."""

    kind: str  # a noun phrase without article: "scratch", "missing part"
    cause: str  # a noun phrase: "contact with a sharp tool"
    remedy: str  # an imperative: "cover the tool edge"


@dataclass(frozen=True)
class Exchange:
    """One question of a conversation and its answer, as instruction data publishes them.

    IMAGE_MARK stands in `question` where an image is shown: over all exchanges of a sample as often as it has images.
    """

    question: str
    answer: str  # "": asked for evaluation, the answer is not published
    options: tuple[str, ...] = ()  # of a multiple-choice question: "A: Yes.", "B: No."; the answer is a letter
    type: str = ""  # the publication's name for this kind of question: "Anomaly Detection"


@dataclass(frozen=True)
class Sample:
    """One photograph: image uint8[H, W, 3], mask uint8[H, W] in {0, 1} (all zero on good parts) and its words."""

    image: np.ndarray
    mask: np.ndarray | None  # None: nobody drew where the defect is, or nobody said whether there is one
    defective: bool | None  # None: nobody said
    category: str
    split: str
    key: str  # unique and stable: the name a protocol file may cite
    captions: tuple[str, ...] = ()  # (shape, material and structure, surface), "" where one is not known; or nothing
    defect: Defect | None = None
    viewpoint: str = ""
    more_images: tuple[np.ndarray, ...] = ()  # uint8[H, W, 3] each: what a conversation shows after `image`
    exchanges: tuple[Exchange, ...] = ()
    references: tuple[str, ...] = ()  # keys of good images that the publication shows beside this one
    random_references: tuple[str, ...] = ()  # keys of others that it has drawn at random
    made: str = ""  # by which synthesizer (data/synthesis/table.py) its defect was; "": it is a photograph as taken


class Conversation(NamedTuple):
    """The words that come with a sample, which can be had without its pixels; fields as in `Sample`."""

    exchanges: tuple[Exchange, ...]
    references: tuple[str, ...]
    random_references: tuple[str, ...]


class Source(Protocol):
    """A sequence of samples with a table of contents.

    A source that can tell whether a defective sample's mask shows anything without reading its photograph has a method
    `has_mask(index) -> bool`. Otherwise those samples are read.
    """

    name: str
    records: Sequence[Record]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
