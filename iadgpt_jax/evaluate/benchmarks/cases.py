"""What a benchmark asks: a case is one image with its conversation, a question one turn of it.

Cases are made from a source's words alone; photographs are read when a model is about to be asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from iadgpt_jax.data.sources.sample import IMAGE_MARK, Conversation, Source


class WordedSource(Source, Protocol):
    """A source with conversations: data/sources/published.py and prepared.py."""

    keys: Sequence[str]

    def conversation(self, index: int) -> Conversation: ...


@dataclass(frozen=True)
class Question:
    """One turn. id: unique in the benchmark, "<key of the image>#<turn from 1>"; task: as the publication calls it.

    options: letter to text of a multiple-choice question. truth: its letter, "Yes" or "No", or an answer in words; ""
    where none is published. defective: whether the part is; None where nobody said.
    """

    id: str
    image: str
    dataset: str
    category: str
    task: str
    text: str
    truth: str
    options: Mapping[str, str] = field(default_factory=dict)
    defective: bool | None = None


@dataclass(frozen=True)
class Case:
    """index: of the image in its source; references: keys of the good images shown with it; sequential: every question
    comes after the answers to those before it, instead of on its own."""

    index: int
    questions: tuple[Question, ...]
    references: tuple[str, ...]
    sequential: bool


def conversations(source: WordedSource, categories: Sequence[str]) -> Iterator[tuple[int, Conversation]]:
    """(index, words) of every image of these categories (none: all) that is asked about."""
    for index, record in enumerate(source.records):
        if record.exchanges and (not categories or record.category in categories):
            yield index, source.conversation(index)


def without_marks(text: str) -> str:
    """A question without the marks that say where its image is shown."""
    return text.replace(IMAGE_MARK, "").strip()
