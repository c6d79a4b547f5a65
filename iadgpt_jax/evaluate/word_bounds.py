"""What answers are to be held against: those of somebody who never looks, and what the model's own map already says.

A share of right answers means little alone. The most frequent kind of defect, told of every product, is right now and
then, and so is "center"; and where the map finds the defect, its place could be read off. Beside these stands which
kinds are taken for which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.place import place_on_grid
from iadgpt_jax.evaluate.reasoning import Truth, plain, read_answer, within_one

READ_SIDE = 48  # a map's cells are read on a grid of so many: a multiple of 3, for places are thirds
GOOD, UNREAD = "normal", "unread"  # what is said instead of a kind


def constant_grades(truths: Sequence[Truth]) -> dict[str, float | None]:
    """The shares of `grade_answers` that the best constant answer would have: each the most that one word can get on
    these very images, None where nothing is known of any. Every place lies within one of the center: of
    `place_within_one` that makes 1, so it says little."""
    kinds = Counter(plain(truth.kind) for truth in truths if truth.defective and truth.kind)
    places = [truth.place for truth in truths if truth.defective and truth.place]
    return {
        "verdict": _most(Counter(truth.defective for truth in truths), len(truths)),
        "kind": _most(kinds, kinds.total()),
        "place": _most(Counter(places), len(places)),
        "place_within_one": 1.0 if places else None,
    }


def map_grades(maps: Iterable[np.ndarray], truths: Sequence[Truth]) -> dict[str, float | None]:
    """The shares of right places, were they read off maps float[h, w], one for each truth: `read_place`."""
    pairs = [(read_place(map_), truth.place) for map_, truth in zip(maps, truths, strict=True) if truth.defective]
    known = [(said, true) for said, true in pairs if true]
    return {
        "place": _share([said == true for said, true in known]),
        "place_within_one": _share([within_one(said, true) for said, true in known]),
    }


def read_place(map_: np.ndarray) -> str:
    """The place (data/place.py) of what is hot in a map float[h, w]: at least half of the way from its median to its
    maximum, after bilinear enlargement."""
    fine = cv2.resize(np.asarray(map_, np.float32), (READ_SIDE, READ_SIDE), interpolation=cv2.INTER_LINEAR)
    return place_on_grid((fine >= (np.median(fine) + fine.max()) / 2).astype(np.uint8))


def confusion(
    answers: Sequence[str], truths: Sequence[Truth], *, anomalous_answer: str = NORMALITY.anomalous_answer
) -> dict[str, dict[str, int]]:
    """true kind -> {kind that was said: how often}, over defective images of known kind, both in alphabetical order.
    An answer that calls one good counts as `GOOD`, one that names no kind as `UNREAD`."""
    table: dict[str, Counter[str]] = {}
    for answer, truth in zip(answers, truths, strict=True):
        if truth.defective and truth.kind:
            claim = read_answer(answer, anomalous_answer=anomalous_answer)
            said = GOOD if claim.defective is False else claim.kind or UNREAD
            table.setdefault(plain(truth.kind), Counter())[said] += 1
    return {kind: dict(sorted(table[kind].items())) for kind in sorted(table)}


def _most(counts: Counter, total: int) -> float | None:
    return max(counts.values()) / total if total else None


def _share(right: Sequence[bool]) -> float | None:
    return sum(right) / len(right) if right else None
