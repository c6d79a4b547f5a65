"""Stage 2, image level: a group of images of one category; which one differs from the others, if any?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation
from iadgpt_jax.data.tasks.category_task import CategoryTask, shuffled
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.phrasings import check_phrasings, phrased
from iadgpt_jax.data.tasks.task import check_option
from iadgpt_jax.data.tasks.task_source import TaskSource

LEAST = 3  # of two images either may be the odd one


class OddOneOut(CategoryTask):
    """`group` different good images, 3 or 4, one of them replaced by a defective one; every position, and none, as
    likely. A category with fewer good images shows all it has.

    phrasings: of so many the question has one, each as likely."""

    name: ClassVar[str] = "odd_one_out"

    def __init__(
        self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION, *, group: int = 4,
        phrasings: int = 1, synthetic: float = 0.1, synthesizers: Sequence[str] = ("cutpaste",), visits: int = 8,
    ):  # fmt: skip
        most = len(prompts.ORDINALS)
        check_option(OddOneOut, "group", group, LEAST <= group <= most, f"{LEAST} to {most} images")
        check_phrasings(OddOneOut, phrasings, prompts.ODD_ONE)
        super().__init__(
            source, augmentation, least_good=LEAST, synthetic=synthetic, synthesizers=synthesizers, visits=visits
        )
        self.group, self.phrasings = group, phrasings

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        category, view = self.category(index), self.augmentation.draw(rng)
        shown = shuffled(rng, category.good)[: self.group]
        samples = [self.sample(i, view) for i in shown]
        odd = int(rng.integers(len(samples) + 1))
        if odd < len(samples):
            samples[odd] = self.defective(category, shown[odd], view, rng)
        differs = odd if odd < len(samples) and samples[odd].defective else None
        question = phrased(prompts.ODD_ONE, self.phrasings, rng)
        block = Block((Turn(question, prompts.odd_one(differs)),), sees=len(samples))
        return Instance(self.name, (block,), tuple(sample.image for sample in samples))
