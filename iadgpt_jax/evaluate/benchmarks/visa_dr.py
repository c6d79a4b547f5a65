"""VisA-D&R: is there a defect (yes or no), and questions in words about cause and remedy.

Detection, as its publication measures it: accuracy, precision, recall and F1 of every category, then the mean over
categories; yes means defective. Reasoning: the model answers the questions of an image in turn, its own answers before
it, and each answer is compared with the published one: SBERT cosine similarity, and a judge's score from 1 to 10. The
categories pcb2 and pcb4 are left out of reasoning, as in the publication's own evaluation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from iadgpt_jax.data.detection_prompt import DEFECTS
from iadgpt_jax.data.sources.readers.visa_dr import DETECTION as DETECTION_LIST
from iadgpt_jax.evaluate.benchmarks.cases import Case, Question, WordedSource, conversations, without_marks
from iadgpt_jax.evaluate.reasoning import read_answer

NAME = "visa_dr"
DETECTION, REASONING = "detection", "reasoning"
NOT_REASONED = ("pcb2", "pcb4")
YES, NO = DEFECTS.anomalous_answer, DEFECTS.normal_answer
MEASURES = ("accuracy", "precision", "recall", "f1")

_LED = re.compile(r"[\W_]*(yes|no)\b", re.IGNORECASE)
_SAID = re.compile(r"\banswer(?:\s+is)?\W*\b(yes|no)\b", re.IGNORECASE)

Row = Mapping[str, Any]


def cases(source: WordedSource, categories: Sequence[str]) -> list[Case]:
    """Every image of the detection list, and every conversation of the reasoning list."""
    found = []
    for index, words in conversations(source, categories):
        record, key = source.records[index], source.keys[index]
        # By the list that it is of: an item of the reasoning list may say, too, whether its part is defective.
        task = DETECTION if f"#{DETECTION_LIST}-" in key else REASONING
        if task == REASONING and record.category in NOT_REASONED:
            continue
        image, category, defective = key.rpartition("#")[0], record.category, record.defective
        questions = tuple(
            Question(f"{key}#{turn}", image, "VisA", category, task, without_marks(one.question), one.answer,
                     defective=defective)
            for turn, one in enumerate(words.exchanges, 1)
        )  # fmt: skip
        found.append(Case(index, questions, (), sequential=True))
    return found


def read_verdict(answer: str) -> bool | None:
    """Whether an answer says that there is a defect; None where it says nothing readable.

    A yes or no that leads, or that is named as the answer, decides; else what the sentences claim.
    """
    if said := _LED.match(answer) or _SAID.search(answer):
        return said[1].lower() == YES.lower()
    return read_answer(answer, anomalous_answer=YES).defective


def published_verdict(answer: str) -> bool:
    """The same as the publication's own evaluation reads it: "Yes" or "yes" anywhere, or else there is none."""
    return "Yes" in answer or "yes" in answer


def scored(row: Row) -> dict[str, Any]:
    """What an answer alone says: read and correct of a detection; nothing of words."""
    if row["task"] != DETECTION:
        return {}
    verdict = read_verdict(row["answer"])
    read = None if verdict is None else (YES if verdict else NO)
    return {"read": read, "correct": read == row["truth"]}


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """The benchmark's numbers from scored rows; a number that cannot be had is None, and `undefined` says why."""
    undefined: dict[str, str] = {}
    detection = [row for row in rows if row["task"] == DETECTION]
    reasoning = [row for row in rows if row["task"] == REASONING]
    return {
        DETECTION: _detection(detection, undefined),
        REASONING: _reasoning(reasoning, undefined),
        "undefined": undefined,
    }


def _detection(rows: Sequence[Row], undefined: dict[str, str]) -> dict[str, Any]:
    of = _by(rows, "category")
    # An answer that cannot be read is wrong: it takes the other side.
    per_category = {name: _measures(of[name], lambda row: (row["truth"] == YES) == row["correct"]) for name in of}
    published = {name: _measures(of[name], lambda row: published_verdict(row["answer"])) for name in of}
    made: dict[str, Any] = {"count": len(rows), "unreadable": sum(row["read"] is None for row in rows)}
    for measure in MEASURES:
        made[measure] = _mean(found[measure] for found in per_category.values())
        if made[measure] is None:
            undefined[f"{DETECTION}.{measure}"] = "no questions" if not rows else "undefined in every category"
        elif any(found[measure] is None for found in per_category.values()):
            names = ", ".join(name for name, found in per_category.items() if found[measure] is None)
            undefined[f"{DETECTION}.{measure}"] = f"undefined in {names}, which the mean leaves out"
    made["published_reading"] = {name: _mean(found[name] for found in published.values()) for name in MEASURES}
    return made | {"per_category": per_category}


def _measures(rows: Sequence[Row], says_defective: Callable[[Row], bool]) -> dict[str, float | None]:
    """MEASURES of one category; None where nothing is defective, or nothing is called so."""
    pairs = [(says_defective(row), row["truth"] == YES) for row in rows]
    hit = sum(said and true for said, true in pairs)
    said, true = sum(said for said, _ in pairs), sum(true for _, true in pairs)
    return {
        "count": len(rows),
        "accuracy": sum(said == true for said, true in pairs) / len(pairs) if pairs else None,
        "precision": hit / said if said else None,
        "recall": hit / true if true else None,
        "f1": 2 * hit / (said + true) if said + true else None,
    }


def _reasoning(rows: Sequence[Row], undefined: dict[str, str]) -> dict[str, Any]:
    known = [row for row in rows if row["truth"]]
    made: dict[str, Any] = {
        "questions": len(rows),
        "without_published_answer": len(rows) - len(known),
        "empty": sum(not row["answer"].strip() for row in rows),
        **_words(known),
    }
    for name in ("sbert", "gpt_score"):
        if made[name] is None:
            why = "no questions" if not rows else "no published answers" if not known else "not measured"
            undefined[f"{REASONING}.{name}"] = why
    made["per_turn"] = {turn: _words(found) for turn, found in _by(known, "turn").items()}
    return made | {"per_category": {name: _words(found) for name, found in _by(known, "category").items()}}


def _words(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over the answers that have each score."""
    return {name: _mean(row.get(name) for row in rows) for name in ("sbert", "gpt_score")} | {"count": len(rows)}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _by(rows: Sequence[Row], field: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row[field]), []).append(row)
    return dict(sorted(found.items(), key=lambda pair: (len(pair[0]), pair[0]) if field == "turn" else (0, pair[0])))
