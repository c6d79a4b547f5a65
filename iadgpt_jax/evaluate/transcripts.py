"""What a model said when it was asked, for the report: some lines of answers.jsonl, evenly spaced over the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iadgpt_jax.errors import InputError

FILE = "answers.jsonl"
SHOWN = 24
LONGEST = 1200  # characters of a text that are shown
_SCORES = {"correct": "answer", "sbert": "SBERT", "gpt_score": "GPT-Score"}  # of a line, and what the page calls them


@dataclass(frozen=True)
class Transcript:
    """One question and its answer. about: dataset, category and task, as far as they are known; scores: (name, value as
    text)."""

    image: str
    about: str
    question: str
    options: tuple[str, ...]
    answer: str
    truth: str
    scores: tuple[tuple[str, str], ...]


def read_transcripts(directory: Path) -> tuple[list[Transcript], int]:
    """(up to SHOWN transcripts, how many there are); nothing where there is no answers.jsonl. Reads it line by line.

    Raises InputError for a line that is not a JSON object.
    """
    path = directory / FILE
    if not path.is_file():
        return [], 0
    with path.open(encoding="utf-8") as lines:
        total = sum(1 for line in lines if line.strip())
    wanted = {number * total // min(SHOWN, total) for number in range(min(SHOWN, total))}
    found, place = [], 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if place in wanted:
                found.append(_transcript(line, f"{path}, line {number}"))
            place += 1
    return found, total


def _transcript(line: str, where: str) -> Transcript:
    try:
        stored = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}): remove the line, or answer the questions again") from error
    if not isinstance(stored, Mapping):
        raise InputError(f"{where} is not a JSON object: remove the line, or answer the questions again")
    options = stored.get("options") or ()
    if isinstance(options, Mapping):
        options = [f"{letter}: {text}" for letter, text in options.items()]
    about = " · ".join(_text(stored[name]) for name in ("dataset", "category", "task") if stored.get(name))
    return Transcript(
        _text(stored.get("image")), about, _text(stored.get("question")), tuple(map(_text, options)),
        _text(stored.get("answer")), _text(stored.get("truth")),
        tuple((told, _number(stored[name])) for name, told in _SCORES.items() if stored.get(name) is not None),
    )  # fmt: skip


def _text(value) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"


def _number(value) -> str:
    if isinstance(value, bool):
        return "right" if value else "wrong"
    return f"{value:.3g}" if isinstance(value, int | float) else _text(value)
