"""One image to inspect, ready for a task: a real sample or a good one with a synthetic defect, in the shared view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from iadgpt_jax.data.place import place_on_grid
from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.data.synthesis.cutpaste import cutpaste
from iadgpt_jax.data.tasks.augment import View
from iadgpt_jax.data.tasks.catalogue import Shelf


def load(source: Source, index: int, view: View) -> Sample:
    """The sample at `index` as seen through `view`."""
    sample = source[index]
    mask = None if sample.mask is None else view.mask(sample.mask)
    return replace(sample, image=view.image(sample.image), mask=mask)


def defective(
    source: Source, shelf: Shelf, good: int, view: View, rng: np.random.Generator, synthetic: float
) -> Sample:
    """A defective sample of a shelf: with probability `synthetic`, and wherever no real one is at hand, the good sample
    at index `good` with a pasted patch."""
    if shelf.defective and rng.random() >= synthetic:
        return load(source, shelf.defective[rng.integers(len(shelf.defective))], view)
    sample = load(source, good, view)
    made = cutpaste(sample.image, rng)
    if made is None:  # a picture too uniform for any paste to show stays the good one it is
        return sample
    image, mask = made
    return replace(sample, image=image, mask=mask, defective=True, defect=None, key=sample.key + "+cutpaste")


def place(sample: Sample) -> str | None:
    """Where the defect is on the 3×3 grid; None on good parts and where no mask is known."""
    if not sample.defective or sample.mask is None or not sample.mask.any():
        return None
    return place_on_grid(sample.mask)
