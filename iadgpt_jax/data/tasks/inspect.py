"""Stage 3: inspect. Queries of one category against 1, 2 or 4 shared good references: verdict, map and reasons."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation, View
from iadgpt_jax.data.tasks.category_task import CategoryTask, shuffled
from iadgpt_jax.data.tasks.instance import Block, Instance
from iadgpt_jax.data.tasks.questions import detect, reason
from iadgpt_jax.data.tasks.task import check_option
from iadgpt_jax.data.tasks.task_source import Category, TaskSource


class Inspect(CategoryTask):
    """Good references, and query blocks that see the first k of them, k drawn from `shots`; half of the queries are
    defective. A category with few good images gives the shots it can: one at least must be left to be a query.

    queries: blocks that ask whether something is wrong; reasons: that ask what; more: up to so many further queries
    where a row has room for them. ratios: the compression ratios r of the references, as likely each.
    synthetic_kinds: reasons call a synthetic defect what it is ("misplaced patch"), not just a defect.
    """

    name: ClassVar[str] = "inspect"

    def __init__(
        self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION, *, shots: Sequence[int] = (1, 2, 4),
        queries: int = 6, reasons: int = 1, more: int = 0, ratios: Sequence[float] = (1.0, 0.2),
        synthetic: float = 0.1, synthesizers: Sequence[str] = ("cutpaste",), synthetic_kinds: bool = False,
        visits: int = 8,
    ):  # fmt: skip
        check_option(
            Inspect, "shots", shots, len(shots) > 0 and all(isinstance(k, int) and k >= 1 for k in shots),
            "numbers of references, as (1, 2, 4)",
        )  # fmt: skip
        check_option(
            Inspect, "ratios", ratios,
            len(ratios) > 0 and all(isinstance(ratio, float | int) and 0 < ratio <= 1 for ratio in ratios),
            "within (0, 1]",
        )  # fmt: skip
        check_option(Inspect, "queries", queries, queries >= 0 and queries + reasons >= 1, "1 or more, or some reasons")
        check_option(Inspect, "reasons", reasons, reasons >= 0, "0 or more")
        check_option(Inspect, "more", more, more >= 0, "0 or more")
        super().__init__(
            source, augmentation, least_good=min(shots) + 1, synthetic=synthetic, synthesizers=synthesizers,
            synthetic_kinds=synthetic_kinds, visits=visits,
        )  # fmt: skip
        self.shots, self.ratios = tuple(shots), tuple(ratios)
        self.queries, self.reasons, self.more = queries, reasons, more

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        category, view = self.category(index), self.augmentation.draw(rng)
        shots = tuple(k for k in self.shots if k < len(category.good))
        order = shuffled(rng, category.good)
        # A category with few good images repeats queries; a reference is never a query.
        references, rest = order[: max(shots)], order[max(shots) :]
        asked = [detect] * self.queries + [reason] * self.reasons
        blocks = tuple(
            self._query(category, view, rest[number % len(rest)], shots, ask, rng) for number, ask in enumerate(asked)
        )
        shared = tuple(self.sample(i, view).image for i in references)
        ratio = self.ratios[rng.integers(len(self.ratios))]
        more = tuple(
            functools.partial(self._further, category, view, rest[(len(blocks) + i) % len(rest)], shots, int(seed))
            for i, seed in enumerate(rng.integers(2**63, size=self.more))
        )
        return Instance(self.name, blocks, shared, ratio, more, {"category": category.name})

    def _query(
        self, category: Category, view: View, good: int, shots: Sequence[int], ask: Callable[[Sample, int], Block],
        rng: np.random.Generator,
    ) -> Block:  # fmt: skip
        """A question about the good sample at index `good` or, half of the time, about a defective one."""
        if rng.random() < 0.5:
            sample = self.defective(category, good, view, rng)
        else:
            sample = self.sample(good, view)
        return ask(sample, shots[rng.integers(len(shots))])

    def _further(self, category: Category, view: View, good: int, shots: Sequence[int], seed: int) -> Block:
        return self._query(category, view, good, shots, detect, np.random.default_rng(seed))
