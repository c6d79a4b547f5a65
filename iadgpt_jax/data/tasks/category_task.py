"""What tasks share that draw from one category at a time: visits in turn, augmented samples, real and made
defects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.sources.sample import Defect, Sample
from iadgpt_jax.data.synthesis.table import SYNTHESIZERS
from iadgpt_jax.data.tasks.augmentation import Augmentation, View
from iadgpt_jax.data.tasks.task import NoCategory, check_option
from iadgpt_jax.data.tasks.task_source import Category, TaskSource, listed


class CategoryTask:
    """`visits` instances of each category (of each of its viewpoints, where it has several) per epoch.

    Of defective samples a share `synthetic` is made from good ones, by one of `synthesizers` (names in
    data/synthesis/table.py), each as likely. synthetic_kinds: such a sample says what was made, in words.

    Categories with fewer than `least_good` good images are left out, and `source.say` gets one line that names them.

    Raises:
      NoCategory: none is left.
    """

    name: ClassVar[str]

    def __init__(
        self, source: TaskSource, augmentation: Augmentation, *, least_good: int, synthetic: float,
        synthesizers: Sequence[str] = ("cutpaste",), visits: int, synthetic_kinds: bool = True,
    ):  # fmt: skip
        check_option(type(self), "synthetic", synthetic, 0 <= synthetic <= 1, "a share between 0 and 1")
        known = all(name in SYNTHESIZERS for name in synthesizers) and not isinstance(synthesizers, str)
        names = f"some of {', '.join(SYNTHESIZERS)}, as ({', '.join(map(repr, SYNTHESIZERS))})"
        check_option(type(self), "synthesizers", synthesizers, known and len(synthesizers) > 0, names)
        check_option(type(self), "visits", visits, visits >= 1, "1 or more")
        self.source, self.augmentation = source, augmentation
        self.synthetic, self.visits = synthetic, visits
        self.synthesizers, self.synthetic_kinds = tuple(synthesizers), synthetic_kinds
        self.categories = [category for category in source.categories if len(category.good) >= least_good]
        too_few = [f"{c} ({len(c.good)})" for c in source.categories if len(c.good) < least_good]
        needs = f"task {self.name} needs {least_good} or more good images of a category"
        if not self.categories:
            raise NoCategory(f"{needs}, and source {source.name} has none with as many: {listed(too_few)}; add some")
        if too_few:
            source.say(f"{needs}: it leaves out {listed(too_few)}")

    def __len__(self) -> int:
        return len(self.categories) * self.visits

    def category(self, index: int) -> Category:
        """The category of instance `index`."""
        return self.categories[index % len(self.categories)]

    def sample(self, index: int, view: View) -> Sample:
        """The sample at an index of the source, as `view` shows it."""
        sample = self.source[index]
        mask = None if sample.mask is None else view.mask(sample.mask)
        return replace(sample, image=view.image(sample.image), mask=mask)

    def defective(
        self, category: Category, good: int, view: View, rng: np.random.Generator, *, synthetic: float | None = None,
        with_mask: bool = False,
    ) -> Sample:  # fmt: skip
        """A defective sample of a category: a photograph, or the good sample at index `good` with a synthetic defect.

        Synthetic with probability `synthetic` (None: the task's), and wherever there is no photograph to show.
        with_mask: only one whose defect is outlined. A picture too uniform for any defect to show stays the good one
        it is.
        """
        photographs = category.masked if with_mask else category.defective
        if photographs and rng.random() >= (self.synthetic if synthetic is None else synthetic):
            sample = self.sample(photographs[rng.integers(len(photographs))], view)
            if sample.mask is not None or not with_mask:  # resizing may have emptied the mask
                return sample
        return self._synthetic(category, self.sample(good, view), view, rng)

    def _synthetic(self, category: Category, sample: Sample, view: View, rng: np.random.Generator) -> Sample:
        """The good sample with a synthetic defect. What one synthesizer cannot make visible, another may."""
        names = self.synthesizers
        if len(names) > 1:
            names = [names[i] for i in rng.permutation(len(names))]
        for synthesizer in map(SYNTHESIZERS.__getitem__, names):
            others = ()
            if synthesizer.another:
                others = (self.sample(category.good[rng.integers(len(category.good))], view).image,)
            if (made := synthesizer.make(sample.image, rng, *others)) is not None:
                image, mask = made
                return replace(
                    sample, image=image, mask=mask, defective=True, key=f"{sample.key}+{synthesizer.name}",
                    made=synthesizer.name,
                    defect=Defect(synthesizer.kind, cause="", remedy="") if self.synthetic_kinds else None,
                )  # fmt: skip
        return sample


def shuffled(rng: np.random.Generator, items: Sequence[int]) -> list[int]:
    """The items in random order."""
    return [items[i] for i in rng.permutation(len(items))]
