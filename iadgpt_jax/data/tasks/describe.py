"""Stage 1: describe a product. Three descriptions share one image (paper: shape, material and structure, surface)."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.prompts import DESCRIBE
from iadgpt_jax.errors import InputError


class Describe:
    """One instance per captioned image."""

    def __init__(self, source: Source):
        if not len(source):
            raise InputError(f"source {source.name} holds no images to describe")
        if not source[0].captions:
            raise InputError(
                f"source {source.name} has no captions to learn to describe from: use the procedural source, or leave "
                "the task out with --config.mixture.describe.weight=0"
            )
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        sample = self.source[index]
        blocks = tuple(
            Block((Turn(question, caption),), sees=1)
            for question, caption in zip(DESCRIBE, sample.captions, strict=True)
        )
        # Captions name colours and places, so the picture stays as it is.
        return Instance("describe", blocks, (sample.image,), notes={"key": sample.key})
