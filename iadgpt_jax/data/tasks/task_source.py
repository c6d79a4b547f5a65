"""What tasks draw from: the chosen categories of a source by viewpoint, and which samples serve which question.

A defective photograph has a usable mask only where somebody outlined the defect. Without one, verdicts can be learned
from it but not where the defect is; a mask that is all black counts as none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from iadgpt_jax.data.sources.sample import Record, Sample, Source
from iadgpt_jax.errors import InputError
from iadgpt_jax.voice import warn

NAMED = 8  # categories that a warning names before it only counts


@dataclass(frozen=True)
class Category:
    """Indices of one category's samples of one viewpoint, "" where there is only one. `masked`: the defective ones
    with a usable mask."""

    name: str
    good: tuple[int, ...]
    defective: tuple[int, ...]
    masked: tuple[int, ...]
    viewpoint: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.viewpoint}".rstrip()


class TaskSource:
    """Samples and their `records` by index, and `categories`: those of the source in order of first appearance, or the
    chosen ones; one for each viewpoint of a category, so that images that are compared show the same side of a product.

    Looks at the masks of all chosen defective samples once, and says in one line through `say` how many have none.
    Samples of which nobody said whether they are defective are in no category. `conversations`: indices of the samples
    of chosen categories that questions and answers come with, whatever their verdict.

    Raises:
      InputError: a chosen category does not exist, or there is no category at all.
    """

    def __init__(
        self, source: Source, categories: Collection[str] | None = None, say: Callable[[str], None] = warn
    ):  # fmt: skip
        self.source, self.name, self.say = source, source.name, say
        found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        names: dict[str, None] = {}
        conversations: list[int] = []
        for index, record in enumerate(source.records):
            names.setdefault(record.category)
            if categories and record.category not in categories:
                continue
            if record.defective is not None:
                found.setdefault((record.category, record.viewpoint), ([], []))[record.defective].append(index)
            if record.exchanges:
                conversations.append(index)
        if unknown := sorted(set(categories or ()) - set(names)):
            raise InputError(
                f"source {source.name} has no category {', '.join(unknown)}; it has {', '.join(names)}: "
                "correct config.categories"
            )
        if not names:
            raise InputError(f"source {source.name} holds no images: choose another with config.source")
        self.conversations = tuple(conversations)
        self.categories = tuple(
            Category(name, tuple(good), tuple(defective), tuple(i for i in defective if self._has_mask(i)), viewpoint)
            for (name, viewpoint), (good, defective) in found.items()
        )
        self._say_what_lacks_masks()

    @property
    def records(self) -> Sequence[Record]:
        """The record of every index of the source, chosen or not."""
        return self.source.records

    def __getitem__(self, index: int) -> Sample:
        """The sample at an index of the source; a defective one has a usable mask or None."""
        sample = self.source[index]
        if sample.defective and sample.mask is not None and not sample.mask.any():
            return replace(sample, mask=None)
        return sample

    def _has_mask(self, index: int) -> bool:
        if hasattr(self.source, "has_mask"):
            return self.source.has_mask(index)
        return self[index].mask is not None

    def _say_what_lacks_masks(self) -> None:
        lacking: dict[str, int] = {}
        for category in self.categories:
            lacking[category.name] = lacking.get(category.name, 0) + len(category.defective) - len(category.masked)
        if count := sum(lacking.values()):
            total = sum(len(category.defective) for category in self.categories)
            names = listed([f"{name} {number}" for name, number in lacking.items() if number])
            self.say(
                f"{count} of {total} defective images of source {self.name} have no mask or a black one ({names}): "
                "they teach verdicts, but no map, and no task asks where their defects are"
            )


def listed(names: list[str]) -> str:
    """Names for a message: all of a few, else the first ones and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
