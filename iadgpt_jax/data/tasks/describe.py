"""Stage 1: describe a product. Up to three descriptions share one image: shape, material and structure, surface."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.prompts import DESCRIBE
from iadgpt_jax.data.tasks.task import NoCategory
from iadgpt_jax.data.tasks.task_source import TaskSource
from iadgpt_jax.errors import InputError


class Describe:
    """One instance per good image with captions, which asks for those it has: an empty one is not known. Captions say
    what the product is like; of a defective one they may not be true.

    Captions name colours and places, so no augmentation applies. `source.say` gets one line where images lack captions.

    Raises:
      NoCategory: there is no good image.
      InputError: none of them has captions.
    """

    name: ClassVar[str] = "describe"

    def __init__(self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION):
        self.source = source
        good = [index for category in source.categories for index in category.good]
        if not good:
            raise NoCategory(f"task {self.name} needs good images, and source {source.name} has none: add some")
        self.captioned = [index for index in good if source.records[index].captioned]
        if not self.captioned:
            raise InputError(
                f"source {source.name} has no captions to learn to describe from: add words.jsonl (docs/data.md), use "
                "the procedural source, or leave the task out with --config.mixture.describe.weight=0"
            )
        if lacking := len(good) - len(self.captioned):
            source.say(
                f"{lacking} of {len(good)} good images of source {source.name} have no captions: task {self.name} "
                "leaves them out"
            )

    def __len__(self) -> int:
        return len(self.captioned)

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        sample = self.source[self.captioned[index]]
        blocks = tuple(
            Block((Turn(question, caption),), sees=1)
            for question, caption in zip(DESCRIBE, sample.captions, strict=True)
            if caption.strip()
        )
        return Instance(self.name, blocks, (sample.image,), notes={"key": sample.key})
