"""From answers to numbers: what is right, how alike answers are in meaning, what a judge says; a table for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from iadgpt_jax.endpoint.client import Endpoint
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks import mmad, visa_dr
from iadgpt_jax.evaluate.benchmarks.judge import Judge, judge_answers
from iadgpt_jax.evaluate.benchmarks.similarity import MODEL, Sentences
from iadgpt_jax.progress import progress

NOT_JUDGED = "no judge; name one with --judge=URL --judge_model=NAME"


class Scoring:
    """How answers of a benchmark are scored. Raises InputError where the judge cannot be asked.

    say: told where SBERT similarity cannot be measured: it can be later, from the same answers.
    """

    def __init__(self, benchmark: str, judge: Judge | None, say: Callable[[str], None]):
        if benchmark == mmad.NAME and judge:
            raise InputError("--judge: MMAD's answers are letters, which nobody needs to judge; leave it out")
        self._benchmark = visa_dr if benchmark == visa_dr.NAME else mmad
        self._judge = judge
        self._endpoint: Endpoint | None = judge.endpoint() if judge else None
        self._sentences: Sentences | None = None
        self._without = ""
        if benchmark == visa_dr.NAME:
            try:
                self._sentences = Sentences()
            except InputError as error:
                self._without = str(error)
                say(f"note: SBERT similarity is not measured: {error}")

    def __call__(self, rows: list[dict[str, Any]], out: Path) -> dict[str, Any]:
        """Add scores to rows, in place, and return the numbers. out: the folder of the judge's ledger.

        A similarity or a grade that a row has already stays where it is not measured anew.
        """
        for row in rows:
            row |= self._benchmark.scored(row)
        made: dict[str, Any] = {"cut_off": sum(not row["whole"] for row in rows)}
        worded = [row for row in rows if row["task"] == visa_dr.REASONING and row["truth"]]
        if self._sentences and worded:
            found = self._sentences.similarity([row["answer"] for row in worded], [row["truth"] for row in worded])
            for row, value in zip(worded, found, strict=True):
                row["sbert"] = value
            made["sbert_model"] = MODEL
        if self._judge and self._endpoint:
            made["judge"] = judge_answers(
                out, self._judge, self._endpoint, worded,
                lambda done, total: progress(done, total, "judging", "answers"),
            )  # fmt: skip
        made |= self._benchmark.summarize(rows)
        why = {"reasoning.sbert": self._without, "reasoning.gpt_score": "" if self._judge else NOT_JUDGED}
        made["undefined"] |= {name: told for name, told in why.items() if told and name in made["undefined"]}
        return made


def table(made: dict[str, Any]) -> str:
    """The headline numbers, for people."""
    if made["benchmark"] == visa_dr.NAME:
        detection, reasoning = made[visa_dr.DETECTION], made[visa_dr.REASONING]
        return (
            f"VisA-D&R: accuracy {_told(detection['accuracy'])} ({detection['unreadable']} of {detection['count']} "
            f"answers unreadable); SBERT {_told(reasoning['sbert'])}, GPT-Score {_told(reasoning['gpt_score'])} "
            f"({reasoning['count']} answers in words)"
        )
    lines = [
        f"MMAD: {_told(made['score'])} ({made['unreadable']} of {made['count']} answers unreadable; read as its "
        f"publication does: {_told(made['published_reading']['score'])})"
    ]
    width = max(map(len, made["per_task"]))
    lines += [f"  {task:<{width}}  {_told(value)}" for task, value in made["per_task"].items()]
    lines += [f"  {name}: {_told(found['score'])}" for name, found in made["per_dataset"].items()]
    return "\n".join(lines)


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
