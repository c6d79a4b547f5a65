"""GPT-Score: a judge behind an OpenAI-compatible endpoint grades an answer against the published one, from 1 to 10.

    judge.jsonl   the ledger: what was asked, and every grade that was paid for; a rerun asks only what is missing

What the judge is told is a version of its own, prompts/judge_<version>.json, which is never changed once it was used.
A judge that refuses, or whose reply holds no grade however often it is asked, leaves its answer without a grade; both
are counted and named.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadgpt_jax.endpoint.asking import USUAL, Asker, EndpointDown, Patience, in_turn
from iadgpt_jax.endpoint.client import Endpoint, Question, Unusable, json_in
from iadgpt_jax.endpoint.ledger import CapReached, Ledger, question_id
from iadgpt_jax.endpoint.prices import CHARACTERS_PER_TOKEN, Prices
from iadgpt_jax.errors import InputError
from iadgpt_jax.journal import Journal

FOLDER = Path(__file__).with_name("prompts")
LATEST = "v1"
LEDGER_FILE = "judge.jsonl"
LOWEST, HIGHEST = 1, 10
NAMED = 20  # answers without a grade that the results name
_BARE = re.compile(
    r"[\s*]*(?:score|grade|rating)?[\s*:=]*(\d+(?:\.\d+)?)\s*(?:/\s*10|out of 10)?[\s*.]*", re.IGNORECASE
)

Watch = Callable[[Iterator[None], int], Iterable[None]]


@dataclass(frozen=True)
class JudgePrompts:
    """One version. {question}, {truth} and {answer} stand in `question` for the three texts."""

    version: str
    max_tokens: int
    system: str
    question: str

    def messages(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        told = self.question
        # In one pass: an answer may hold "{truth}".
        told = re.sub(r"\{(question|truth|answer)\}", lambda found: row[found[1]].strip(), told)
        return [{"role": "system", "content": self.system}, {"role": "user", "content": told}]


@dataclass(frozen=True)
class Judge:
    """url: of the endpoint, "" for OpenAI's own; max_cost: what all runs on one folder together may spend."""

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    prices: Prices = Prices(0.0, 0.0)
    max_cost: float = math.inf
    timeout: float = 120.0
    concurrency: int = 8
    patience: Patience = USUAL
    version: str = LATEST

    def endpoint(self) -> Endpoint:
        """Raises InputError where it cannot be asked: no key, no library."""
        return Endpoint(self.model, self.url or None, self.key_variable, self.timeout)


def read_judge_prompts(version: str = LATEST) -> JudgePrompts:
    """One version. Raises InputError where there is none of this name."""
    path = FOLDER / f"judge_{version}.json"
    if not path.is_file():
        there = ", ".join(sorted(file.stem.removeprefix("judge_") for file in FOLDER.glob("judge_*.json")))
        raise InputError(f"no judge's prompts {version}; choose among {there}")
    return JudgePrompts(**json.loads(path.read_text(encoding="utf-8")))


def read_grade(text: str, cut: bool) -> str:
    """{"score", "why"} as JSON, from a reply that is such an object, or a number alone. Raises Unusable otherwise."""
    told = json_in(text)
    value = told.get("score") if isinstance(told, dict) else told
    if not isinstance(told, dict) and not cut and (bare := _BARE.fullmatch(text)):
        value = float(bare[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or not LOWEST <= value <= HIGHEST:
        raise Unusable("it was cut off" if cut else f"no score from {LOWEST} to {HIGHEST} in the reply: {text[:80]!r}")
    why = str(told.get("why", "")) if isinstance(told, dict) else ""
    return json.dumps({"score": float(value), "why": " ".join(why.split())}, ensure_ascii=False)


def judge_answers(
    out: Path, judge: Judge, endpoint: Endpoint, rows: Sequence[dict[str, Any]],
    watch: Watch = lambda done, total: done,
) -> dict[str, Any]:  # fmt: skip
    """Grade rows that have a published answer: adds "gpt_score" and "judge", the judge's reason, to each graded one.

    Returns what the results say of the judging: counts, cost, names of answers without a grade, and in `stopped` why
    not everything was asked, "" where it was.
    """
    prompts = read_judge_prompts(judge.version)
    for row in rows:  # another judge's grades are not mixed with this one's
        for name in ("gpt_score", "judge"):
            row.pop(name, None)
    of_id: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        told = json.dumps([row["question"].strip(), row["truth"].strip(), row["answer"].strip()], ensure_ascii=False)
        of_id.setdefault(question_id(prompts.version, judge.model, told), []).append(row)
    faults: dict[str, str] = {}
    stopped = ""
    with Journal(out / LEDGER_FILE) as journal:
        ledger = Ledger(journal, judge.max_cost)
        asker = Asker(ledger, endpoint, judge.prices, judge.patience)

        def ask(id: str) -> None:
            messages = prompts.messages(of_id[id][0])
            size = sum(len(message["content"]) for message in messages)
            asked = Question(messages, prompts.max_tokens, math.ceil(size / CHARACTERS_PER_TOKEN), read_grade)
            if (fault := asker.ask(id, asked)) and not asker.stop.is_set():
                faults[id] = fault

        waiting = [id for id in of_id if not ledger.has_answer(id)]
        try:
            for _ in watch(in_turn(asker, ask, waiting, judge.concurrency), len(waiting)):
                pass
        except CapReached:
            stopped = f"the next grade might cost more than the {judge.max_cost:g} of --judge_max_cost leave"
        except (EndpointDown, InputError) as error:
            stopped = str(error)
        without: dict[str, list[dict[str, str]]] = {"refused": [], "broken": []}
        for id, same in of_id.items():
            reply = ledger.answer(id)
            for row in same:
                if reply is None:
                    without["broken"].append({"id": row["id"], "why": faults.get(id, "not asked")})
                elif reply.refused:
                    without["refused"].append({"id": row["id"], "why": reply.refused})
                else:
                    grade = json.loads(reply.text)
                    row |= {"gpt_score": grade["score"], "judge": grade["why"]}
        spent = round(ledger.spent, 6)
    return {
        "model": judge.model, "prompts": prompts.version, "asked": len(waiting), "spent": spent, "stopped": stopped,
        "graded": sum("gpt_score" in row for row in rows),
        **{name: {"count": len(found), "answers": found[:NAMED]} for name, found in without.items()},
    }  # fmt: skip
