"""MMAD: multiple-choice questions of seven tasks about images of four datasets.

As its publication measures it: accuracy of every task in a dataset, where anomaly detection is the mean of that on
normal and that on defective images; the mean over the tasks is a dataset's score, the mean over the datasets the
benchmark's. One good image is shown before the query (1-shot): the first random template, or the first similar one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from iadgpt_jax.evaluate.benchmarks.cases import Case, Question, WordedSource, conversations, without_marks
from iadgpt_jax.evaluate.benchmarks.choices import published_choice, read_choice

NAME = "mmad"
ANOMALY, OBJECT = "Anomaly Detection", "Object Analysis"
TASKS = (
    ANOMALY, "Defect Classification", "Defect Localization", "Defect Description", "Defect Analysis",
    "Object Classification", OBJECT,
)  # fmt: skip
SAME_TASK = {"Object Structure": OBJECT, "Object Details": OBJECT}
TEMPLATES = ("random", "similar", "none")

Row = Mapping[str, Any]


def cases(source: WordedSource, categories: Sequence[str], templates: str, sequential: bool) -> list[Case]:
    """Every image of the index with the template that is shown before it, if there is one."""
    found = []
    for index, words in conversations(source, categories):
        record, key = source.records[index], source.keys[index]
        shown = {"random": words.random_references, "similar": words.references, "none": ()}[templates][:1]
        questions = []
        for turn, one in enumerate(words.exchanges, 1):
            options = dict(option.split(": ", 1) for option in one.options)
            task = SAME_TASK.get(one.type, one.type)
            questions.append(
                Question(f"{key}#{turn}", key, key.split("/")[0], record.category, task, without_marks(one.question),
                         one.answer, options, record.defective)
            )  # fmt: skip
        found.append(Case(index, tuple(questions), shown, sequential))
    return found


def scored(row: Row) -> dict[str, Any]:
    """The letter that an answer chooses, None where it chooses none, and whether it is right."""
    read = read_choice(row["answer"], row["options"])
    return {"read": read, "correct": read == row["truth"]}


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """The benchmark's numbers from scored rows; a number that cannot be had is None, and `undefined` says why."""
    undefined: dict[str, str] = {}
    made = _tables(rows, lambda row: row["correct"], undefined)
    published = _tables(rows, lambda row: published_choice(row["answer"], row["options"]) == row["truth"], {})
    return made | {
        "count": len(rows),
        "unreadable": sum(row["read"] is None for row in rows),
        "published_reading": {"score": published["score"], "per_task": published["per_task"]},
        "undefined": undefined,
    }


def _tables(rows: Sequence[Row], right: Callable[[Row], bool], undefined: dict[str, str]) -> dict[str, Any]:
    per_dataset = {}
    for dataset in sorted({row["dataset"] for row in rows}):
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        tasks = {}
        for task in (*TASKS, *sorted({row["task"] for row in of_dataset} - set(TASKS))):
            of_task = [row for row in of_dataset if row["task"] == task]
            tasks[task] = _task(of_task, right, task == ANOMALY)
            if tasks[task]["accuracy"] is None:
                why = "no questions" if not of_task else "no questions about normal, or none about defective images"
                undefined[f"{dataset}.{task}"] = why + "; the mean leaves it out"
        score = _mean(found["accuracy"] for found in tasks.values())
        per_dataset[dataset] = {"score": score, "count": len(of_dataset), "tasks": tasks}
    names = dict.fromkeys(task for found in per_dataset.values() for task in found["tasks"])
    per_task = {
        task: _mean(found["tasks"][task]["accuracy"] for found in per_dataset.values() if task in found["tasks"])
        for task in names
    }
    score = _mean(found["score"] for found in per_dataset.values())
    if score is None:
        undefined["score"] = "no questions"
    return {"score": score, "per_task": per_task, "per_dataset": per_dataset}


def _task(rows: Sequence[Row], right: Callable[[Row], bool], balanced: bool) -> dict[str, Any]:
    """balanced: the mean of the accuracies on normal and on defective images."""
    made = {"count": len(rows), "unreadable": sum(row["read"] is None for row in rows)}
    if not balanced:
        return {"accuracy": _mean(map(right, rows)), **made}
    normal = _mean(right(row) for row in rows if not row["defective"])
    defective = _mean(right(row) for row in rows if row["defective"])
    both = None if normal is None or defective is None else (normal + defective) / 2
    return {"accuracy": both, "normal": normal, "defective": defective, **made}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
