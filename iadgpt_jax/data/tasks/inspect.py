"""Stage 3: inspect. Queries of one category against 1, 2 or 4 shared good references: verdict, map and reasons."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augment import View
from iadgpt_jax.data.tasks.catalogue import Shelf, pick, shelves
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.query import defective, load, place


class Inspect:
    """One instance per category visit: references, and query blocks that see the first k of them, k drawn from
    `shots`: `queries` that ask whether something is wrong, `reasons` that ask what, and up to `more` further queries
    where a row has room for them. `ratios` are the compression ratios r, mixed evenly.
    """

    def __init__(
        self, source: Source, *, categories=None, shots: Sequence[int] = (1, 2, 4), queries: int = 6,
        reasons: int = 1, more: int = 0, ratios: Sequence[float] = (1.0, 0.2), synthetic: float = 0.1, visits: int = 8,
    ):  # fmt: skip
        self.source, self.synthetic, self.visits = source, synthetic, visits
        self.shots, self.ratios = tuple(shots), tuple(ratios)
        self.queries, self.reasons, self.more = queries, reasons, more
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
            ask = detect if number < self.queries else reason
            blocks.append(self._query(shelf, view, rest[number % len(rest)], ask, rng))
        shared = tuple(load(self.source, i, view).image for i in references)
        ratio = self.ratios[rng.integers(len(self.ratios))]
        more = tuple(
            functools.partial(self._further, shelf, view, rest[(len(blocks) + i) % len(rest)], int(seed))
            for i, seed in enumerate(rng.integers(2**63, size=self.more))
        )
        return Instance("inspect", tuple(blocks), shared, ratio, more, {"category": shelf.category})

    def _query(self, shelf: Shelf, view: View, good: int, ask, rng: np.random.Generator) -> Block:
        """A question about the good sample at an index or, half of the time, about a defective one."""
        if rng.random() < 0.5:
            sample = defective(self.source, shelf, good, view, rng, self.synthetic)
        else:
            sample = load(self.source, good, view)
        return ask(sample, self.shots[rng.integers(len(self.shots))])

    def _further(self, shelf: Shelf, view: View, good: int, seed: int) -> Block:
        return self._query(shelf, view, good, detect, np.random.default_rng(seed))


def detect(sample: Sample, shots: int) -> Block:
    """Is it normal? Scored, mapped, and supervised by the sample's mask where one is known."""
    turns = (Turn(prompts.DETECT, prompts.verdict(sample.defective)),)
    return Block(turns, (sample.image,), shots, prompts.KEYWORDS, sample.mask, scored=True)


def reason(sample: Sample, shots: int) -> Block:
    """What is wrong, where, why, and what to do about it?"""
    return Block((Turn(prompts.REASON, prompts.reasoning(sample, place(sample))),), (sample.image,), shots)
