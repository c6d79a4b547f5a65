"""Which queries a report shows: the best, the worst and the borderline cases, over all categories.

A category's threshold is where its F1 is largest; how far a query stands from it on its right side, in standard
deviations of the category's scores, says how good a case it is. Categories take turns, so that none fills a gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KINDS = ("best", "worst", "borderline")
SHOWN = 8  # of each kind


@dataclass(frozen=True)
class Case:
    """A query to show: its number in the category; side: how far on its right side of the threshold, negative on the
    wrong one."""

    kind: str
    category: str
    index: int
    label: bool
    score: float
    threshold: float
    side: float


def cases_of(category: str, scores: np.ndarray, labels: np.ndarray) -> list[Case]:
    """Up to SHOWN candidates of every kind, a category's first choice first. Scores that are not finite are left out;
    a category without good or without defective queries has no threshold but 0.

    Args:
      scores: float[n], higher means more likely defective.
      labels: bool[n], True for defective.
    """
    usable = np.flatnonzero(np.isfinite(scores))
    kept, truth = scores[usable].astype(np.float64), labels[usable]
    if not len(kept):
        return []
    both = bool(truth.any() and not truth.all())
    threshold = best_threshold(kept, truth) if both else 0.0
    scale = float(kept.std()) or 1.0
    side = np.where(truth, kept - threshold, threshold - kept) / scale

    def made(kind: str, places: Sequence[int]) -> list[Case]:
        return [
            Case(kind, category, int(usable[i]), bool(truth[i]), float(kept[i]), threshold, float(side[i]))
            for i in places
        ]

    rising = np.argsort(side, kind="stable")
    worst = [i for i in rising[:SHOWN] if side[i] < 0]
    near = [i for i in np.argsort(np.abs(side), kind="stable") if i not in worst][:SHOWN]
    taken = {*worst, *near}
    best = [i for i in rising[::-1] if side[i] > 0 and i not in taken]
    best = [i for kind in (True, False) for i in [j for j in best if truth[j] == kind][: SHOWN // 2]]
    return made("best", best) + made("worst", worst) + made("borderline", near)


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """Where F1 is largest: halfway between the lowest score that is then called defective and the next below it, or
    just below all scores; with several such places the highest. Scores float64[n], labels bool[n] of both kinds."""
    order = np.argsort(-scores, kind="stable")
    falling, found = scores[order], np.cumsum(labels[order])
    ends = np.flatnonzero(np.r_[falling[1:] != falling[:-1], True])
    best = ends[np.argmax(2.0 * found[ends] / (ends + 1 + found[-1]))]
    if best + 1 == len(falling):
        return float(np.nextafter(falling[best], -np.inf))
    return float((falling[best] + falling[best + 1]) / 2)


def choose(candidates: Sequence[Sequence[Case]]) -> dict[str, list[Case]]:
    """SHOWN cases of every kind from the candidates of all categories: every category's first choice, then their
    second ones; where there are more categories than places, the clearest of them. Of the best, a category's first is a
    defect, the next category's a good part, and so on in turn."""
    chosen = {}
    for kind in KINDS:
        queues = [[case for case in cases if case.kind == kind] for cases in candidates]
        if kind == "best":
            queues = [_alternating(queue, number % 2 == 0) for number, queue in enumerate(queues)]
        found: list[Case] = []
        for turn in range(SHOWN):
            round_ = [queue[turn] for queue in queues if len(queue) > turn]
            found += sorted(round_, key=lambda case: _rank(kind, case))
        chosen[kind] = found[:SHOWN]
    return chosen


def _alternating(queue: Sequence[Case], first: bool) -> list[Case]:
    """Defective and good in turn, `first` says which begins."""
    kinds = [[case for case in queue if case.label == label] for label in (first, not first)]
    longest = max(map(len, kinds))
    return [case for turn in range(longest) for of_kind in kinds for case in of_kind[turn : turn + 1]]


def _rank(kind: str, case: Case) -> float:
    return {"best": -case.side, "worst": case.side, "borderline": abs(case.side)}[kind]
