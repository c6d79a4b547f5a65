"""Which option of a multiple-choice question an answer chooses: "B", "(b)", "Answer: B.", "B. No", "No."

What cannot be told is None: such an answer counts as wrong and is counted apart. `published_choice` reads as MMAD's own
code does, which always finds something.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

# A letter of its own; "A scratch" and "I think" begin with a word.
_LETTER = r"([B-HJ-Zb-hj-z]|[AaIi](?!\s+[a-z]))(?![A-Za-z0-9'’])"
_SAID = re.compile(
    r"(?i:\b(?:answer|option|choice|choose|select)(?:\s+(?:is|would be|should be|letter|option))*)\s*[:=]?\s*"
    r"[\s\"'`(\[*]*" + _LETTER
)
_LED = re.compile(r"^[\s\"'`(\[*#]*([A-Za-z])[\"'`)\]*]*(?:\s*[.:,;)\]-]|\s*$)")
_LONE = re.compile(r"(?<![A-Za-z0-9])([B-HJ-Z]|[AI](?!\s+(?!or\b|and\b)[a-z]))(?![A-Za-z0-9'’])")  # "A or B"


def read_choice(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter that an answer chooses among `options` (letter to text), or None.

    In this order: a letter that is named as the answer, the last one; a letter that leads; the text of an option as the
    whole answer; the only lone capital letter; the only option whose text occurs.
    """
    letters = {letter.upper(): letter for letter in options}

    def known(found: list[str]) -> str | None:
        chosen = [letters[letter.upper()] for letter in found if letter.upper() in letters]
        return chosen[-1] if chosen else None

    if (letter := known(_SAID.findall(answer))) is not None:
        return letter
    if led := _LED.match(answer):
        return letters.get(led[1].upper())
    plain = _plain(answer)
    texts = {letter: _plain(text) for letter, text in options.items()}
    if len(same := [letter for letter, text in texts.items() if text and text == plain]) == 1:
        return same[0]
    if len(lone := {letter for letter in _LONE.findall(answer) if letter in letters}) == 1:
        return letters[lone.pop()]
    inside = {letter: text for letter, text in texts.items() if text and re.search(rf"\b{re.escape(text)}\b", plain)}
    # "scratch" occurs in "deep scratch": the longer option is meant.
    longest = [
        letter for letter, text in inside.items()
        if not any(text != other and text in other for other in inside.values())
    ]  # fmt: skip
    return longest[0] if len(longest) == 1 else None


def published_choice(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter as MMAD's own evaluation reads it: the last lone capital from A to E, else the option whose text is
    nearest to the answer. None where there are no options."""
    if found := re.findall(r"\b([A-E])\b", answer):
        return found[-1]
    nearest = difflib.get_close_matches(answer, options.values(), n=1, cutoff=0.0)
    return next((letter for letter, text in options.items() if nearest and text == nearest[0]), None)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.casefold()).split())
