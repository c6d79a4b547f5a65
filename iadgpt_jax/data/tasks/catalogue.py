"""Which samples a task may combine: the indices of a source by category, good and defective apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError


@dataclass(frozen=True)
class Shelf:
    """One category: indices of good and of defective samples."""

    category: str
    good: tuple[int, ...]
    defective: tuple[int, ...]


def shelves(source: Source, categories: Collection[str] | None = None, least_good: int = 1) -> list[Shelf]:
    """The categories of a source in order of first appearance, those named by `categories` or all.

    Raises:
      InputError: a named category does not exist, or one has fewer than `least_good` good samples.
    """
    found: dict[str, tuple[list[int], list[int]]] = {}
    for index, record in enumerate(source.records):
        found.setdefault(record.category, ([], []))[record.defective].append(index)
    if categories is not None:
        if unknown := sorted(set(categories) - set(found)):
            raise InputError(f"source {source.name} has no category {', '.join(unknown)}; it has {', '.join(found)}")
        found = {name: found[name] for name in found if name in categories}
    for name, (good, _) in found.items():
        if len(good) < least_good:
            raise InputError(
                f"category {name} of {source.name} has {len(good)} good images, this task needs {least_good}: "
                "add good photographs or leave the category out"
            )
    return [Shelf(name, tuple(good), tuple(bad)) for name, (good, bad) in found.items()]


def pick(rng: np.random.Generator, items: tuple[int, ...], count: int) -> list[int]:
    """`count` of `items` without repetition while they last."""
    if count <= len(items):
        return [items[i] for i in rng.permutation(len(items))[:count]]
    return [items[i] for i in rng.integers(0, len(items), count)]
