"""Reads generated answers and grades what they claim: verdict, kind of defect, place on the 3×3 grid.

The answers look like "There is a scratch at the top left. Likely cause: … Remedy: …", "The product is normal." or a
bare "No."; wording a model drifts into (upper-left, centre, "No defects found") is read as what it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.place import PLACES, cell


@dataclass(frozen=True)
class Truth:
    """What an answer should say: defective, and where known the kind (noun phrase) and the place (of `PLACES`)."""

    defective: bool
    kind: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Claim:
    """What an answer says; None where it says nothing readable."""

    defective: bool | None
    kind: str | None = None
    place: str | None = None


# Longest first, or "top left" would read as "top".
_PLACE = re.compile(r"\b(" + "|".join(sorted(PLACES, key=len, reverse=True)) + r")\b")
_PLACE_AFTER_PREPOSITION = re.compile(r"\b(?:at|in|on|near|towards?) (?:the |its )*" + _PLACE.pattern)
_SYNONYMS = (
    (r"\bupper\b", "top"),
    (r"\blower\b", "bottom"),
    (r"\b(?:centre|middle|central)\b", "center"),
    (r"\b(left|right) (top|bottom)\b", r"\2 \1"),
    (r"\bcenter (top|bottom|left|right)\b", r"\1"),
    (r"\b(top|bottom|left|right) center\b", r"\1"),
)
_KIND = re.compile(
    r"\bthere (?:is|are|seems to be|appears to be) (?:an? |some |the )?(.+?)"
    r"(?= (?:at|in|on|near|towards?) (?:the|its)\b|[.,;]|$)"
)
_NORMAL = re.compile(
    r"\b(?:no|not any|without(?: any)?) (?:visible |obvious )?(?:defect|anomal|damage|flaw|fault)"
    r"|\b(?:is|are|looks?|appears?|seems?)(?: to be)? (?:normal|flawless|good|intact)\b"
    r"|\bnot (?:defective|anomalous|abnormal|damaged)\b"
    r"|^(?:nothing|nowhere|none)\b"
)
_DEFECTIVE = re.compile(
    r"\bnot (?:normal|flawless|good|intact)\b|\b(?:is|looks?|appears?) (?:defective|abnormal|anomalous)\b"
)


def read_answer(answer: str, *, anomalous_answer: str = NORMALITY.anomalous_answer) -> Claim:
    """What an answer claims.

    Args:
      answer: generated text, in any case and spacing.
      anomalous_answer: the bare word, "Yes" or "No", that means defective (data/detection_prompt.py). The default
        question asks whether the product is normal, so it is "No".
    """
    text = " ".join(answer.lower().replace("-", " ").split())
    bare = re.match(r"(yes|no)(?=[.,;:!]|$)", text)
    finding = re.split(r"\b(?:likely cause|cause|remedy)\s*:", text)[0]  # causes and remedies name other places
    kind = _kind(finding)
    if bare:
        defective: bool | None = bare.group(1) == anomalous_answer.lower()
    elif _DEFECTIVE.search(finding):
        defective = True
    elif _NORMAL.search(finding):
        defective = False
    else:
        # "There is a …", or the bare place that answers where something differs.
        defective = True if kind or _PLACE_AFTER_PREPOSITION.match(_plain_places(finding)) else None
    return Claim(defective, kind, _place(finding)) if defective else Claim(defective)


def grade_answers(
    answers: Sequence[str], truths: Sequence[Truth], *, anomalous_answer: str = NORMALITY.anomalous_answer
) -> dict[str, float | int | None]:
    """Shares of answers that are right, each over the images for which the truth is known.

    Args:
      answers: generated texts.
      truths: what each should say.
      anomalous_answer: as in `read_answer`.

    Returns:
      count: number of answers.
      parsed: share whose verdict could be read. Unread ones count as wrong below.
      verdict: share that call defective defective and good good.
      kind, place, place_within_one: over the defective images whose kind or place is known: the right noun phrase, the
        right cell, that cell or one of its (up to eight) neighbours. Calling such an image good is wrong.
      A share over no image at all is None.

    Raises:
      ValueError: numbers of answers and truths differ.
    """
    if len(answers) != len(truths):
        raise ValueError(f"grade_answers: {len(answers)} answers for {len(truths)} truths; pass one truth per answer.")
    pairs = [(read_answer(a, anomalous_answer=anomalous_answer), t) for a, t in zip(answers, truths, strict=True)]
    placed = [(claim, truth) for claim, truth in pairs if truth.defective and truth.place]
    return {
        "count": len(pairs),
        "parsed": _share(claim.defective is not None for claim, _ in pairs),
        "verdict": _share(claim.defective == truth.defective for claim, truth in pairs),
        "kind": _share(claim.kind == plain(truth.kind) for claim, truth in pairs if truth.defective and truth.kind),
        "place": _share(claim.place == truth.place for claim, truth in placed),
        "place_within_one": _share(within_one(claim.place, truth.place) for claim, truth in placed),
    }


def _kind(finding: str) -> str | None:
    match = _KIND.search(finding)
    return match.group(1).strip() if match and not re.match(r"no(?:thing)?\b", match.group(1)) else None


def _plain_places(finding: str) -> str:
    """The text with every other word for a place replaced by the grid's."""
    for pattern, word in _SYNONYMS:
        finding = re.sub(pattern, word, finding)
    return finding


def _place(finding: str) -> str | None:
    finding = _plain_places(finding)
    match = _PLACE_AFTER_PREPOSITION.search(finding) or _PLACE.search(finding)
    return match.group(1) if match else None


def plain(kind: str) -> str:
    """A kind as `read_answer` returns it."""
    return " ".join(kind.lower().replace("-", " ").split())


def within_one(claimed: str | None, true: str) -> bool:
    """Whether a place is the true one or one of its (up to eight) neighbours."""
    if claimed is None:
        return False
    (row, column), (true_row, true_column) = cell(claimed), cell(true)
    return max(abs(row - true_row), abs(column - true_column)) <= 1


def _share(outcomes: Iterable[bool]) -> float | None:
    right = list(outcomes)
    return sum(right) / len(right) if right else None
