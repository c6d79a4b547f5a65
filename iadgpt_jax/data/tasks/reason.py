"""Stage 3: reason about a product, in the conversations of instruction data (paper: Anomaly-Instruct-125k).

They are published without references. Where the source has good images of the same category and viewpoint, these
are shown first, so that the reasons are learned with references, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from iadgpt_jax.data.sources.sample import IMAGE_MARK, Exchange, Sample
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation
from iadgpt_jax.data.tasks.category_task import shuffled
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tasks.prompts import REFERENCES_FIRST
from iadgpt_jax.data.tasks.task import NoCategory, check_option
from iadgpt_jax.data.tasks.task_source import TaskSource
from iadgpt_jax.errors import InputError


class Reason:
    """One instance per conversation: its images, then every question and answer as published, as turns of one block.

    A conversation about one image gets k references before it, k drawn from those of `shots` that its category's and
    viewpoint's other good images allow. Without any, and where it shows several images and says which is which, it
    stays as it is: zero-shot. shots=(): all do. ratios: the compression ratios r of the references, as likely each.

    Answers name colours and places, so no augmentation applies. What is asked without a published answer ends the
    conversation.

    Raises:
      NoCategory: the source has no conversations.
    """

    name: ClassVar[str] = "reason"

    def __init__(
        self, source: TaskSource, augmentation: Augmentation = NO_AUGMENTATION, *, shots: Sequence[int] = (1, 2, 4),
        ratios: Sequence[float] = (1.0, 0.2),
    ):  # fmt: skip
        check_option(Reason, "shots", shots, min(shots, default=1) >= 1, "numbers of references, as (1, 2, 4), or ()")
        check_option(Reason, "ratios", ratios, len(ratios) > 0 and 0 < min(ratios) <= max(ratios) <= 1, "within (0, 1]")
        if not source.conversations:
            raise NoCategory(
                f"task {self.name} needs conversations, and source {source.name} has none: prepare instruction data "
                "(docs/data.md), or leave the task out with --config.mixture.reason.weight=0"
            )
        self.source, self.shots, self.ratios = source, tuple(shots), tuple(ratios)
        self.good: dict[tuple[str, str], tuple[int, ...]] = {}
        for category in source.categories:
            # Of a conversation without a viewpoint any of its category's will do.
            for viewpoint in dict.fromkeys((category.viewpoint, "")):
                key = (category.name, viewpoint)
                self.good[key] = (*self.good.get(key, ()), *category.good)

    def __len__(self) -> int:
        return len(self.source.conversations)

    def instance(self, index: int, rng: np.random.Generator) -> Instance:
        at, sample, turns = self._conversation(index)
        references = self._references(at, sample, rng) if not sample.more_images else ()
        if references:
            turns = (Turn(REFERENCES_FIRST + turns[0].question, turns[0].answer), *turns[1:])
        ratio = self.ratios[rng.integers(len(self.ratios))] if references else 1.0
        block = Block(turns, (sample.image, *sample.more_images), sees=len(references))
        return Instance(self.name, (block,), references, ratio, notes={"key": sample.key})

    def _conversation(self, index: int) -> tuple[int, Sample, tuple[Turn, ...]]:
        """(index in the source, sample, turns) of conversation `index`, or of the next one with an answer."""
        for further in range(len(self)):
            at = self.source.conversations[(index + further) % len(self)]
            sample = self.source[at]
            if turns := turns_of(sample.exchanges, 1 + len(sample.more_images)):
                return at, sample, turns
        raise InputError(
            f"no question of source {self.source.name} has an answer to learn from: choose another source for task "
            f"{self.name}"
        )

    def _references(self, at: int, sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """k good images that are not the sample's, whichever conversation they come with; none where too few are."""
        record = self.source.records[at]
        candidates = [i for i in self.good.get((record.category, record.viewpoint), ()) if i != at]
        possible = [k for k in self.shots if k <= len(candidates)]
        if not possible:
            return ()
        wanted = possible[rng.integers(len(possible))]
        shown = [sample.image]
        for i in shuffled(rng, candidates):
            image = self.source[i].image  # one photograph may come with several conversations
            if not any(np.array_equal(image, other) for other in shown):
                shown.append(image)
            if len(shown) > wanted:
                break
        found = len(shown) - 1
        return tuple(shown[1 : 1 + max((k for k in possible if k <= found), default=0)])


def turns_of(exchanges: Sequence[Exchange], images: int) -> tuple[Turn, ...]:
    """Every exchange up to the first without an answer, as turns.

    All images are shown before the first question, so marks that open a question go. A mark elsewhere becomes the
    number of its image, "Image A: <image>" is "Image A: (image 1)"; of an only image it goes, or becomes "the image"
    within a sentence.
    """
    turns, shown = [], 0
    for exchange in exchanges:
        if not exchange.answer.strip():
            break
        text, shown = _without_marks(exchange.question, shown, images)
        turns.append(Turn("\n".join((text, *exchange.options)), exchange.answer))
    return tuple(turns)


def _without_marks(text: str, shown: int, images: int) -> tuple[str, int]:
    """(the text, how many images are shown by its end), `shown` before it."""
    text = text.strip()
    while text.startswith(IMAGE_MARK):
        text, shown = text.removeprefix(IMAGE_MARK).lstrip(), shown + 1
    if images == 1:
        text = text.removesuffix(IMAGE_MARK).rstrip()
    told, *rest = text.split(IMAGE_MARK)
    for piece in rest:
        shown += 1
        told += ("the image" if images == 1 else f"(image {shown})") + piece
    return told, shown
