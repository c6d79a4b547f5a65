"""What packed rows hold, counted where they are packed: the host's side of rates, of how full rows are, and of the mix
of tasks that is really trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Taught(NamedTuple):
    """What some rows hold of one task, or with several sources of one task and source. questions: query blocks, each
    what a prompt of its own would be. answer_tokens: those that are learned. images: that are shown."""

    instances: int = 0
    questions: int = 0
    answer_tokens: int = 0
    images: int = 0

    def plus(self, other: Taught) -> Taught:
        return Taught(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Tally:
    """Counts of some rows; tallies of several rows add up.

    slots, images: decoder slots and image slots with content, out of slots_room and images_room. maps: that are read.
    pairs: (query, key) pairs of slots that attend. dropped: instances that found no room and are not trained on.
    cut: instances placed with a text that was cut, because whole it is longer than a row. quarantined: images shown in
    place of records that cannot be decoded (data/sources/quarantine.py). tasks: by name.
    """

    slots: int = 0
    slots_room: int = 0
    images: int = 0
    images_room: int = 0
    maps: int = 0
    pairs: int = 0
    dropped: int = 0
    cut: int = 0
    quarantined: int = 0
    tasks: Mapping[str, Taught] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        names = dict.fromkeys([*self.tasks, *other.tasks])
        return Tally.of_numbers(names, [a + b for a, b in zip(self.numbers(names), other.numbers(names), strict=True)])

    @property
    def queries(self) -> int:
        return sum(taught.questions for taught in self.tasks.values())

    @property
    def targets(self) -> int:
        return sum(taught.answer_tokens for taught in self.tasks.values())

    @property
    def instances(self) -> int:
        return sum(taught.instances for taught in self.tasks.values())

    @property
    def filled(self) -> tuple[float, float]:
        """Shares of decoder slots and of image slots with content."""
        return self.slots / max(self.slots_room, 1), self.images / max(self.images_room, 1)

    @property
    def dropped_share(self) -> float:
        return self.dropped / max(self.instances + self.dropped, 1)

    @property
    def cut_share(self) -> float:
        return self.cut / max(self.instances, 1)

    def mix(self, names: Iterable[str] = ()) -> dict[str, tuple[float, float]]:
        """By task, `names` first: its shares of all questions and of all answer tokens."""
        zero = Taught()
        return {
            name: (
                self.tasks.get(name, zero).questions / max(self.queries, 1),
                self.tasks.get(name, zero).answer_tokens / max(self.targets, 1),
            )
            for name in dict.fromkeys([*names, *self.tasks])
        }

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The counts in a fixed order, with those of the tasks `names`: what processes sum."""
        counts = [getattr(self, count) for count in _COUNTS]
        return counts + [number for name in names for number in self.tasks.get(name, Taught())]

    @classmethod
    def of_numbers(cls, names: Iterable[str], numbers: Sequence[int]) -> Tally:
        """The inverse of `numbers`."""
        counts, by_task = numbers[: len(_COUNTS)], numbers[len(_COUNTS) :]
        width = len(Taught._fields)
        tasks = {name: Taught(*by_task[width * i : width * (i + 1)]) for i, name in enumerate(names)}
        return cls(*counts, tasks=tasks)


_COUNTS = tuple(one.name for one in dataclasses.fields(Tally) if one.name != "tasks")
