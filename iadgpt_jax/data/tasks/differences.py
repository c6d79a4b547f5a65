"""Stage 2: notice differences. The paper's three proxy tasks, each one instance per category visit."""

from __future__ import annotations

import functools

import numpy as np

from iadgpt_jax.data.place import PLACES
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augment import View
from iadgpt_jax.data.tasks.catalogue import Shelf, pick, shelves
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.query import defective, load, place


class _OverCategories:
    """Shared by the three: `visits` instances per category and epoch, CutPaste beside real defects."""

    def __init__(
        self, source: Source, *, categories=None, synthetic: float = 0.1, visits: int = 8, least_good: int = 2
    ):  # fmt: skip
        self.source, self.synthetic, self.visits = source, synthetic, visits
        self.shelves = shelves(source, categories, least_good)

    def __len__(self) -> int:
        return len(self.shelves) * self.visits

    def shelf(self, index: int):
        return self.shelves[index % len(self.shelves)]


class OddOneOut(_OverCategories):
    """Image level: a group of images of one category; which one is defective, if any?"""

    def __init__(self, source: Source, *, group: int = 4, **options):
        super().__init__(source, least_good=group, **options)
        self.group = group

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        shelf, view = self.shelf(index), View.draw(rng)
        samples = [load(self.source, i, view) for i in pick(rng, shelf.good, self.group)]
        odd = int(rng.integers(self.group + 1))
        if odd < self.group:
            samples[odd] = defective(self.source, shelf, shelf.good[0], view, rng, self.synthetic)
        found = odd if odd < self.group and samples[odd].defective else None
        block = Block((Turn(prompts.ODD_ONE, prompts.odd_one(found)),), sees=self.group)
        return Instance("odd_one_out", (block,), tuple(sample.image for sample in samples))


class PairDifference(_OverCategories):
    """Region level: a pair of images of one product; where do they differ, or do they at a named place?

    Several second images share the first: `pairs`, and up to `more` where a row has room for them. With `maps`, the
    question is the detection question and its attention map is supervised: from scratch, showing where teaches sooner
    than telling where. A share `twins` of the second images is the first itself, half of them with a pasted defect:
    there is nothing to see but the difference, which is how comparing is learned before poses and light get in its way.
    """

    def __init__(
        self, source: Source, *, pairs: int = 3, more: int = 0, maps: bool = False, twins: float = 0.0, **options
    ):  # fmt: skip
        super().__init__(source, **options)
        self.pairs, self.more, self.maps, self.twins = pairs, more, maps, twins

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        shelf, view = self.shelf(index), View.draw(rng)
        first, *others = pick(rng, shelf.good, 1 + self.pairs)
        blocks = tuple(self._second(shelf, view, first, other, rng) for other in others)
        shared = (load(self.source, first, view).image,)
        more = tuple(
            functools.partial(self._further, shelf, view, first, int(seed))
            for seed in rng.integers(2**63, size=self.more)
        )
        return Instance("pair_difference", blocks, shared, more=more)

    def _second(self, shelf: Shelf, view: View, first: int, other: int, rng: np.random.Generator) -> Block:
        twin = rng.random() < self.twins
        shown, synthetic = (first, 1.0) if twin else (other, self.synthetic)
        if rng.random() < 0.5:
            return self._block(defective(self.source, shelf, shown, view, rng, synthetic), rng)
        return self._block(load(self.source, shown, view), rng)

    def _further(self, shelf: Shelf, view: View, first: int, seed: int) -> Block:
        rng = np.random.default_rng(seed)
        other = pick(rng, tuple(i for i in shelf.good if i != first), 1)[0]
        return self._second(shelf, view, first, other, rng)

    def _block(self, sample, rng: np.random.Generator) -> Block:
        true_place = place(sample)
        if self.maps:
            turns = (Turn(prompts.DETECT, prompts.verdict(sample.defective)),)
            return Block(turns, (sample.image,), 1, prompts.KEYWORDS, sample.mask, scored=True)
        if rng.random() < 0.5:
            turn = Turn(prompts.WHERE_DIFFERENT, prompts.at(true_place) if true_place else prompts.NOWHERE)
        else:
            asked = true_place if true_place and rng.random() < 0.5 else PLACES[rng.integers(len(PLACES))]
            turn = Turn(prompts.DIFFERS_AT.format(place=asked), "Yes." if asked == true_place else "No.")
        return Block((turn,), (sample.image,), 1)


class IrregularRegion(_OverCategories):
    """No reference at hand: where is the irregular region of this image, if anywhere?"""

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        shelf, view = self.shelf(index), View.draw(rng)
        good = pick(rng, shelf.good, 1)[0]
        wanted = rng.random() < 0.5
        sample = (
            defective(self.source, shelf, good, view, rng, self.synthetic) if wanted else load(self.source, good, view)
        )
        found = place(sample)
        answer = prompts.at(found) if found else prompts.NOWHERE
        block = Block((Turn(prompts.IRREGULAR, answer),), (sample.image,))
        return Instance("irregular_region", (block,))
