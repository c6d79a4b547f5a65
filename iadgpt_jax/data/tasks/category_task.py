"""What tasks share that draw from one category at a time: visits in turn, augmented samples, defects real or pasted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.synthesis.cutpaste import cutpaste
from iadgpt_jax.data.tasks.augmentation import Augmentation, View
from iadgpt_jax.data.tasks.task import NoCategory, check_option
from iadgpt_jax.data.tasks.task_source import Category, TaskSource, listed


class CategoryTask:
    """`visits` instances of each category per epoch. Of defective samples a share `synthetic` is pasted (CutPaste).

    Categories with fewer than `least_good` good images are left out, and `source.say` gets one line that names them.

    Raises:
      NoCategory: none is left.
    """

    name: ClassVar[str]

    def __init__(
        self, source: TaskSource, augmentation: Augmentation, *, least_good: int, synthetic: float, visits: int
    ):
        check_option(type(self), "synthetic", synthetic, 0 <= synthetic <= 1, "a share between 0 and 1")
        check_option(type(self), "visits", visits, visits >= 1, "1 or more")
        self.source, self.augmentation = source, augmentation
        self.synthetic, self.visits = synthetic, visits
        self.categories = [category for category in source.categories if len(category.good) >= least_good]
        too_few = [f"{c.name} ({len(c.good)})" for c in source.categories if len(c.good) < least_good]
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
        """A defective sample of a category: a photograph, or the good sample at index `good` with a pasted patch.

        Pasted with probability `synthetic` (None: the task's), and wherever there is no photograph to show.
        with_mask: only one whose defect is outlined. A picture too uniform for any patch to show stays the good one
        it is.
        """
        photographs = category.masked if with_mask else category.defective
        if photographs and rng.random() >= (self.synthetic if synthetic is None else synthetic):
            sample = self.sample(photographs[rng.integers(len(photographs))], view)
            if sample.mask is not None or not with_mask:  # resizing may have emptied the mask
                return sample
        sample = self.sample(good, view)
        pasted = cutpaste(sample.image, rng)
        if pasted is None:
            return sample
        image, mask = pasted
        return replace(sample, image=image, mask=mask, defective=True, defect=None, key=sample.key + "+cutpaste")


def shuffled(rng: np.random.Generator, items: Sequence[int]) -> list[int]:
    """The items in random order."""
    return [items[i] for i in rng.permutation(len(items))]
