"""What a task hands on: one conversation about images, or several that share their first images.

An `Instance` is a shared part (system prompt, opening of the user's turn, shared images) and query blocks. Each block
continues the shared part as if it stood alone with the first `sees` shared images: its own images, then its turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Turn:
    """answer: None where it is to be generated. words: parts of the answer that say something which can be right or
    wrong, as (what of models/answer_loss.WORDS, the part): logged, and weighed, apart. Each is taken where it first
    occurs. whole: False where the answer would go on: how it does is not taught, nor that it ends here, so the turn is
    the last of its block."""

    question: str
    answer: str | None = None
    words: tuple[tuple[str, str], ...] = ()
    whole: bool = True


@dataclass(frozen=True)
class Detection:
    """The detection question about a block's query. How it is worded, and which answer means anomalous, is the model's
    prompt: the encoder's part. defective: the truth, None where it is to be found out. mask uint8[H, W] supervises the
    map of the query, None: nothing does."""

    defective: bool | None = None
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Block:
    """Own images uint8[H, W, 3] (the last one is the query), then the detection question, if any, then turns."""

    turns: tuple[Turn, ...] = ()
    images: tuple[np.ndarray, ...] = ()
    sees: int = 0
    detection: Detection | None = None


@dataclass(frozen=True)
class Instance:
    """Shared images uint8[H, W, 3], the first of which anchors compression; `ratio` r of eq. 9 for the others.

    more: further blocks it can have where a row has room for them, each made when it is called for.
    """

    task: str
    blocks: tuple[Block, ...]
    shared: tuple[np.ndarray, ...] = ()
    ratio: float = 1.0
    more: tuple[Callable[[], Block], ...] = ()
    notes: dict = field(default_factory=dict)  # for people and reports; never reaches the model
