"""A model answers cases, batch by batch; what it says is on disk before the next batch begins.

Cases are taken in groups of `at_once`, always the same ones. A group that was not finished is answered again as a whole
and what is missing is added: a batch is then the same however often a run is stopped, and so is the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks.answers import ANSWERS_FILE, read_answers, rows_of
from iadgpt_jax.evaluate.benchmarks.cases import Case, WordedSource
from iadgpt_jax.evaluate.benchmarks.wording import put
from iadgpt_jax.infer.inspector import Inspector, Said
from iadgpt_jax.journal import Journal

Watch = Callable[[Iterable[None], int], Iterable[None]]


@dataclass(frozen=True)
class Setting:
    """benchmark, layout: as `wording.put`; max_new: tokens of an answer at most; at_once: questions in a batch."""

    benchmark: str
    layout: str
    max_new: int
    at_once: int


def answer_cases(
    inspector: Inspector, source: WordedSource, cases: Sequence[Case], setting: Setting, out: Path,
    watch: Watch = lambda done, total: done,
) -> None:  # fmt: skip
    """Answer every question that OUT/answers.jsonl has no answer to, and add it there.

    watch: hands on a None a group, of so many, and shows progress. Raises InputError where an image cannot be read.
    """
    places = {key: index for index, key in enumerate(source.keys)}
    groups = [cases[start : start + setting.at_once] for start in range(0, len(cases), setting.at_once)]
    with Journal(out / ANSWERS_FILE) as journal:
        known = set(read_answers(out / ANSWERS_FILE))

        def work() -> Iterator[None]:
            for group in groups:
                rows = [rows_of(case) for case in group]
                if not all(row["id"] in known for of_case in rows for row in of_case):
                    said = _answer(inspector, source, places, group, setting)
                    for of_case, answers in zip(rows, said, strict=True):
                        for row, answer in zip(of_case, answers, strict=True):
                            if row["id"] not in known:
                                journal.append(row | {"answer": answer.text, "whole": answer.whole})
                yield None

        for _ in watch(work(), len(groups)):
            pass


def _answer(
    inspector: Inspector, source: WordedSource, places: dict[str, int], group: Sequence[Case], setting: Setting
) -> list[list[Said]]:
    """The answers to every question of every case."""
    shown = [(source[case.index].image, _references(source, places, case)) for case in group]
    said: list[list[Said]] = [[] for _ in group]
    while todo := [
        (number, turn)
        for number, case in enumerate(group)
        for turn in range(len(said[number]), len(said[number]) + 1 if case.sequential else len(case.questions))
        if turn < len(case.questions)
    ]:
        for start in range(0, len(todo), setting.at_once):
            batch = todo[start : start + setting.at_once]
            asked = [
                put(setting.benchmark, setting.layout, group[number], turn, [one.text for one in said[number]],
                    *shown[number])
                for number, turn in batch
            ]  # fmt: skip
            for (number, _), answer in zip(batch, inspector.answer_many(asked, max_new=setting.max_new), strict=True):
                said[number].append(answer)
    return said


def _references(source: WordedSource, places: dict[str, int], case: Case) -> list[np.ndarray]:
    if missing := [key for key in case.references if key not in places]:
        raise InputError(f"the template {missing[0]} is not in the dataset; prepare it again, or use --templates=none")
    return [source[places[key]].image for key in case.references]
