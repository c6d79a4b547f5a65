"""Stage 2, region level: two images of one category; where do they differ, or do they at a named place?"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.place import PLACES, clear_places
from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation, View
from iadgpt_jax.data.tasks.category_task import CategoryTask, shuffled
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.phrasings import check_phrasings, phrased
from iadgpt_jax.data.tasks.questions import detect
from iadgpt_jax.data.tasks.task import check_option
from iadgpt_jax.data.tasks.task_source import Category, TaskSource


class PairDifference(CategoryTask):
    """A good first image, and second images to compare with it, half of them defective.

    pairs: how many second images share the first; more: up to so many further ones where a row has room for them.
    maps: ask the detection question and supervise its map instead: from scratch, showing where teaches sooner than
    telling where. twins: the share of second images that are the first itself, half of those with a synthetic defect:
    there is nothing to notice but the difference, so comparing is learned before poses and light get in its way.
    phrasings: of so many each question has one, each as likely.
    """

    name: ClassVar[str] = "pair_difference"

    def __init__(
        self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION, *, pairs: int = 3, more: int = 0,
        maps: bool = False, twins: float = 0.0, phrasings: int = 1, synthetic: float = 0.1,
        synthesizers: Sequence[str] = ("cutpaste",), visits: int = 8,
    ):  # fmt: skip
        check_option(PairDifference, "pairs", pairs, pairs >= 1, "1 or more")
        check_option(PairDifference, "more", more, more >= 0, "0 or more")
        check_option(PairDifference, "twins", twins, 0 <= twins <= 1, "a share between 0 and 1")
        check_phrasings(PairDifference, phrasings, prompts.WHERE_DIFFERENT, prompts.DIFFERS_AT)
        super().__init__(
            source, augmentation, least_good=2, synthetic=synthetic, synthesizers=synthesizers, visits=visits
        )
        self.pairs, self.more, self.maps, self.twins, self.phrasings = pairs, more, maps, twins, phrasings

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        category, view = self.category(index), self.augmentation.draw(rng)
        first, *others = shuffled(rng, category.good)
        # Few good images serve as second ones several times, but the first only as a twin.
        blocks = tuple(
            self._second(category, view, first, others[i % len(others)], rng) for i in range(self.pairs)
        )  # fmt: skip
        more = tuple(
            functools.partial(self._further, category, view, first, int(seed))
            for seed in rng.integers(2**63, size=self.more)
        )
        return Instance(self.name, blocks, (self.sample(first, view).image,), more=more)

    def _further(self, category: Category, view: View, first: int, seed: int) -> Block:
        rng = np.random.default_rng(seed)
        other = shuffled(rng, [i for i in category.good if i != first])[0]
        return self._second(category, view, first, other, rng)

    def _second(self, category: Category, view: View, first: int, other: int, rng: np.random.Generator) -> Block:
        twin = rng.random() < self.twins
        shown, synthetic = (first, 1.0) if twin else (other, self.synthetic)
        if rng.random() < 0.5:
            sample = self.defective(category, shown, view, rng, synthetic=synthetic, with_mask=not self.maps)
        else:
            sample = self.sample(shown, view)
        return detect(sample, 1) if self.maps else Block((self._differs(sample, rng),), (sample.image,), 1)

    def _differs(self, sample: Sample, rng: np.random.Generator) -> Turn:
        """Where does it differ, or does it at a place? Only places that clearly hold the defect, or nothing of it, are
        asked for; a defect that is everywhere a little has none of the former."""
        if rng.random() < 0.5:
            return self._where(sample, rng)
        if not sample.defective:
            return self._at(PLACES[rng.integers(len(PLACES))], prompts.NO, rng)
        held, free = clear_places(sample.mask)
        yes = bool(held) and (not free or rng.random() < 0.5)
        places = held if yes else free
        if not places:
            return self._where(sample, rng)
        return self._at(places[rng.integers(len(places))], prompts.YES if yes else prompts.NO, rng)

    def _where(self, sample: Sample, rng: np.random.Generator) -> Turn:
        return Turn(phrased(prompts.WHERE_DIFFERENT, self.phrasings, rng), prompts.where(sample))

    def _at(self, place: str, answer: str, rng: np.random.Generator) -> Turn:
        return Turn(phrased(prompts.DIFFERS_AT, self.phrasings, rng).format(place=place), answer)
