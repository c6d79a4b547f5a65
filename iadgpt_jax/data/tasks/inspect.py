"""Stage 3: inspect. Queries of one category against 1, 2 or 4 shared good references: verdict, map and reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augment import View
from iadgpt_jax.data.tasks.catalogue import pick, shelves
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.query import defective, load, place


class Inspect:
    """One instance per category visit: references, and query blocks that see the first k of them, k drawn from
    `shots`: `queries` that ask whether something is wrong, `reasons` that ask what. `ratios` are the compression ratios
    r, mixed evenly.
    """

    def __init__(
        self, source: Source, *, categories=None, shots: Sequence[int] = (1, 2, 4), queries: int = 6,
        reasons: int = 1, ratios: Sequence[float] = (1.0, 0.2), synthetic: float = 0.1, visits: int = 8,
    ):  # fmt: skip
        self.source, self.synthetic, self.visits = source, synthetic, visits
        self.shots, self.queries, self.reasons, self.ratios = tuple(shots), queries, reasons, tuple(ratios)
        self.shelves = shelves(source, categories, least_good=max(shots) + 1)

    def __len__(self) -> int:
        return len(self.shelves) * self.visits

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        shelf, view = self.shelves[index % len(self.shelves)], View.draw(rng)
        most = max(self.shots)
        order = pick(rng, shelf.good, len(shelf.good))
        # A category with few good parts repeats queries, never shows a reference as its own query.
        references, rest = order[:most], order[most:]
        blocks = []
        for number in range(self.queries + self.reasons):
            good = rest[number % len(rest)]
            if rng.random() < 0.5:
                sample = defective(self.source, shelf, good, view, rng, self.synthetic)
            else:
                sample = load(self.source, good, view)
            shots = self.shots[rng.integers(len(self.shots))]
            blocks.append(detect(sample, shots) if number < self.queries else reason(sample, shots))
        shared = tuple(load(self.source, i, view).image for i in references)
        ratio = self.ratios[rng.integers(len(self.ratios))]
        return Instance("inspect", tuple(blocks), shared, ratio, {"category": shelf.category})


def detect(sample: Sample, shots: int) -> Block:
    """Is it normal? Scored, mapped, and supervised by the sample's mask where one is known."""
    turns = (Turn(prompts.DETECT, prompts.verdict(sample.defective)),)
    return Block(turns, (sample.image,), shots, prompts.KEYWORDS, sample.mask, scored=True)


def reason(sample: Sample, shots: int) -> Block:
    """What is wrong, where, why, and what to do about it?"""
    return Block((Turn(prompts.REASON, prompts.reasoning(sample, place(sample))),), (sample.image,), shots)
