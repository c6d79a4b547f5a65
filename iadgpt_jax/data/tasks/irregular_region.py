"""Stage 2, without a reference: where is the irregular region of this image, if anywhere?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation
from iadgpt_jax.data.tasks.category_task import CategoryTask, shuffled
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.phrasings import check_phrasings, phrased
from iadgpt_jax.data.tasks.task_source import TaskSource


class IrregularRegion(CategoryTask):
    """One image, good or with an outlined defect, each half of the time.

    phrasings: of so many the question has one, each as likely."""

    name: ClassVar[str] = "irregular_region"

    def __init__(
        self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION, *, phrasings: int = 1,
        synthetic: float = 0.1, synthesizers: Sequence[str] = ("cutpaste",), visits: int = 8,
    ):  # fmt: skip
        check_phrasings(IrregularRegion, phrasings, prompts.IRREGULAR)
        super().__init__(
            source, augmentation, least_good=1, synthetic=synthetic, synthesizers=synthesizers, visits=visits
        )
        self.phrasings = phrasings

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        category, view = self.category(index), self.augmentation.draw(rng)
        good = shuffled(rng, category.good)[0]
        if rng.random() < 0.5:
            sample = self.defective(category, good, view, rng, with_mask=True)
        else:
            sample = self.sample(good, view)
        question = phrased(prompts.IRREGULAR, self.phrasings, rng)
        block = Block((Turn(question, prompts.where(sample)),), (sample.image,))
        return Instance(self.name, (block,))
