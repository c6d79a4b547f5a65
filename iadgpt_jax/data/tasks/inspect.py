"""Stage 3: inspect. Queries of one category against 1, 2 or 4 shared good references: verdict, map and reasons."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation, View
from iadgpt_jax.data.tasks.category_task import CategoryTask, shuffled
from iadgpt_jax.data.tasks.instance import Block, Instance
from iadgpt_jax.data.tasks.questions import detect, has_words, reason, short, told
from iadgpt_jax.data.tasks.task import check_option
from iadgpt_jax.data.tasks.task_source import Category, TaskSource


class Inspect(CategoryTask):
    """Good references, and query blocks that see the first k of them, k drawn from `shots`; half of the queries are
    defective. A category with few good images gives the shots it can: one at least must be left to be a query.

    queries: blocks that ask whether something is wrong; told: of them, so many that ask what, too, in a further turn,
    the defective ones first; reasons: blocks that only ask what; asks: the share of those that ask short questions
    instead ("Where is it?"); more: up to so many further queries where a row has room for them. ratios: the compression
    ratios r of the references, as likely each. synthetic_kinds: reasons call a synthetic defect what it is ("misplaced
    patch"); otherwise nobody asks for its kind.
    """

    name: ClassVar[str] = "inspect"

    def __init__(
        self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION, *, shots: Sequence[int] = (1, 2, 4),
        queries: int = 6, told: int = 0, reasons: int = 1, asks: float = 0.0, more: int = 0,
        ratios: Sequence[float] = (1.0, 0.2),
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
        check_option(Inspect, "told", told, 0 <= told <= queries, "0 to queries")
        check_option(Inspect, "asks", asks, 0 <= asks <= 1, "a share between 0 and 1")
        check_option(Inspect, "reasons", reasons, reasons >= 0, "0 or more")
        check_option(Inspect, "more", more, more >= 0, "0 or more")
        super().__init__(
            source, augmentation, least_good=min(shots) + 1, synthetic=synthetic, synthesizers=synthesizers,
            synthetic_kinds=synthetic_kinds, visits=visits,
        )  # fmt: skip
        self.shots, self.ratios = tuple(shots), tuple(ratios)
        self.queries, self.told, self.reasons, self.asks, self.more = queries, told, reasons, asks, more

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        category, view = self.category(index), self.augmentation.draw(rng)
        shots = tuple(k for k in self.shots if k < len(category.good))
        order = shuffled(rng, category.good)
        # A category with few good images repeats queries; a reference is never a query.
        references, rest = order[: max(shots)], order[max(shots) :]
        blocks = [self._query(category, view, rest[i % len(rest)], shots, rng) for i in range(self.queries)]
        others = range(self.queries, self.queries + self.reasons)
        reasons = [self._query(category, view, rest[i % len(rest)], shots, rng) for i in others]
        blocks = [*self._detections(blocks), *(self._reason(category, *query, rng) for query in reasons)]
        shared = tuple(self.sample(i, view).image for i in references)
        ratio = self.ratios[rng.integers(len(self.ratios))]
        more = tuple(
            functools.partial(self._further, category, view, rest[(len(blocks) + i) % len(rest)], shots, int(seed))
            for i, seed in enumerate(rng.integers(2**63, size=self.more))
        )
        return Instance(self.name, tuple(blocks), shared, ratio, more, {"category": category.name})

    def _query(
        self, category: Category, view: View, good: int, shots: Sequence[int], rng: np.random.Generator
    ) -> tuple[Sample, int]:  # fmt: skip
        """(sample, how many references it is shown with): the good one at index `good` or, half of the time, a
        defective one."""
        if rng.random() < 0.5:
            sample = self.defective(category, good, view, rng)
        else:
            sample = self.sample(good, view)
        return sample, shots[rng.integers(len(shots))]

    def _detections(self, queries: Sequence[tuple[Sample, int]]) -> list[Block]:
        """Whether something is wrong with each, and what with `told` of them: with defective ones before good ones."""
        blocks = [detect(*query) for query in queries]
        can = [number for number, (sample, _) in enumerate(queries) if has_words(sample)]
        for number in sorted(can, key=lambda number: not queries[number][0].defective)[: self.told]:
            blocks[number] = told(queries[number][0], blocks[number])
        return blocks

    def _reason(self, category: Category, sample: Sample, references: int, rng: np.random.Generator) -> Block:
        """What is wrong with it or, where nobody can say or by chance, short questions."""

        def other_kind() -> str | None:
            if not category.defective:
                return None
            other = self.source[category.defective[rng.integers(len(category.defective))]]
            return other.defect.kind if other.defect else None

        asked = None
        if not has_words(sample) or (self.asks and rng.random() < self.asks):
            asked = short(sample, references, other_kind, rng)
        return asked or reason(sample, references)

    def _further(self, category: Category, view: View, good: int, shots: Sequence[int], seed: int) -> Block:
        return detect(*self._query(category, view, good, shots, np.random.default_rng(seed)))
