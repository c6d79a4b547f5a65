"""Stands for an Inspector in tests of the server: its numbers follow from the pixels, and it can be made to wait."""

from __future__ import annotations

import copy
import threading

import numpy as np

from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.inspector import Said
from iadgpt_jax.infer.product import Product
from iadgpt_jax.infer.threshold import Threshold

CHECKPOINT = "0123456789abcdef"


class Stub:
    """A part's margin is its mean grey minus that of its references, in tenths. batches: sizes inspected together.
    gate: while it is not set, inspections wait; steps: while not set, chats wait before each piece. asked: by chats."""

    unit, tiles, prompt = 28, (1, 1), NORMALITY

    def __init__(self):
        self.ratio, self.side = 1.0, 56
        self.batches: list[int] = []
        self.gate, self.steps = threading.Event(), threading.Event()
        self.gate.set()
        self.steps.set()
        self.entered = threading.Event()
        self.fails_at: int | None = None
        self.said = 0
        self.asked: list = []

    def under(self, *, ratio, side):
        if side % self.unit:
            raise InputError(f"side is {side}")
        other = copy.copy(self)
        other.ratio, other.side = ratio, side
        return other

    def inspections(self, queries, references=(), *, explain=True):
        self.batches.append(len(queries))
        self.entered.set()
        assert self.gate.wait(30)
        for query in queries:
            if self.fails_at is not None and int(query.mean()) == self.fails_at:
                raise RuntimeError("the model failed")
            margin = (float(query.mean()) - np.mean([reference.mean() for reference in references])) / 10
            yield Inspection(margin, np.full((2, 2), margin, np.float32), "No", "why" if explain else "", (1, 1))

    def stream(self, asked, *, max_new, sampling=None):
        words = ["a", " scratch", " é", "!"][:max_new]
        for word in words:
            assert self.steps.wait(30)
            self.said += 1
            self.asked.append(asked)
            yield word
        return Said("".join(words), len(words) < max_new)


def flat(level: int, side: int = 60) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def product(name: str = "screws", level: int = 100, **changes) -> Product:
    fields = dict(references=(flat(level),), threshold=Threshold(1.0, 0.9, (0.5, 1.0)), calm=(0.0, 1.0), ratio=1.0,
                  side=56, checkpoint=CHECKPOINT)  # fmt: skip
    return Product(name, **fields | changes)
