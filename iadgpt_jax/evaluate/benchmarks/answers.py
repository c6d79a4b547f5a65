"""The answers of a benchmark on disk, in answers.jsonl: written as they come, scores are added when they are counted.

    {"id", "image", "dataset", "category", "task", "turn", "question", "options", "truth", "defective", "references",
     "answer", "whole"}                                   as it was answered; whole: not cut off
    … "read", "correct" | "sbert", "gpt_score", "judge"   added by scoring

Answers from elsewhere need two fields, "id" and "answer".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks.cases import Case
from iadgpt_jax.whole_file import write_whole

ANSWERS_FILE = "answers.jsonl"
FIELDS = {"dataset", "category", "task", "turn", "question", "options", "truth", "defective", "whole"}  # beside the two


def rows_of(case: Case) -> list[dict[str, Any]]:
    """A row for every question of a case, without answers."""
    return [
        {
            "id": question.id,
            "image": question.image,
            "dataset": question.dataset,
            "category": question.category,
            "task": question.task,
            "turn": turn,
            "question": question.text,
            "options": dict(question.options),
            "truth": question.truth,
            "defective": question.defective,
            "references": list(case.references),
        }
        for turn, question in enumerate(case.questions, 1)
    ]


def read_answers(path: Path) -> dict[str, dict[str, Any]]:
    """Id to what a file of answers says of it. Raises InputError, naming the line, for what is no answer."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read answers from {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error}); one object a line is expected") from error
        if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("id", "answer")):
            raise InputError(f'{path}, line {number}: no object with the texts "id" and "answer"')
        if value["id"] in found:
            raise InputError(f"{path}, line {number}: a second answer to {value['id']}; leave one of them out")
        found[value["id"]] = value
    return found


def given(cases: Sequence[Case], answers: Mapping[str, Mapping[str, Any]], path: Path) -> tuple[list[dict], int]:
    """(the rows of all cases with these answers, how many have none). A missing answer is an empty one.

    Raises InputError where an answer is to a question that the benchmark does not ask, or there is none at all.
    """
    rows = [row for case in cases for row in rows_of(case)]
    asked = {row["id"] for row in rows}
    if strangers := [id for id in answers if id not in asked]:
        raise InputError(
            f"{path} answers {len(strangers)} questions that the dataset does not ask, such as {strangers[0]}; name "
            "the dataset and the --categories that they belong to"
        )
    if not answers:
        raise InputError(f"{path} holds no answers: name the file of another run")
    for row in rows:
        answer = answers.get(row["id"], {})
        row |= {"answer": answer.get("answer", ""), "whole": bool(answer.get("whole", True))}
    return rows, sum(row["id"] not in answers for row in rows)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON objects, one a line, whole or not at all."""
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
