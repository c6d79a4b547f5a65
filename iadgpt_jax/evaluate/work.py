"""An evaluation's scoring as pieces of work: shared out over processes, written as they are done, never done twice.

A piece is a category under some draws. What it makes are the raw files of that category (raw.py), so an evaluation that
was interrupted goes on with the files that are missing. Nothing here imports JAX; `score` does the scoring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate.protocol import CategoryPlan, keys_of
from iadgpt_jax.evaluate.raw import Queries, RawFolder, Scores, pack_masks

PIECES = 4  # at least so many per process, so that shares come out even


@dataclass(frozen=True)
class Group:
    """The same queries of one category from one viewpoint under several settings: the plan of each, and which
    references each shows ("own", "wrong" or "none")."""

    plans: tuple[CategoryPlan, ...]
    references: tuple[str, ...]

    @property
    def category(self) -> str:
        return self.plans[0].category

    @property
    def queries(self) -> tuple[int, ...]:
        return self.plans[0].queries


Score = Callable[[Sequence[Group]], Iterable[tuple[Group, list[Scores]]]]  # see scoring.score_groups


@dataclass(frozen=True)
class Piece:
    """A category under these draws. cost: queries × draws."""

    category: str
    draws: tuple[int, ...]
    cost: int


def pieces_of(draws: Sequence[Sequence[CategoryPlan]], processes: int) -> list[Piece]:
    """Every category with all its draws, whose query images are then seen once; where processes would go short of
    pieces, with some of its draws in each. draws: the plans of each."""
    queries: dict[str, int] = {}
    for plan in draws[0]:
        queries[plan.category] = queries.get(plan.category, 0) + len(plan.queries)
    split = 1 if processes == 1 else min(len(draws), -(-PIECES * processes // len(queries)))
    parts = [tuple(int(d) for d in part) for part in np.array_split(np.arange(len(draws)), split)]
    return [Piece(name, part, count * len(part)) for name, count in queries.items() for part in parts]


def share(pieces: Sequence[Piece], processes: int) -> list[list[Piece]]:
    """The pieces of every process, costs about even, one piece a category; each process works this out for itself."""
    shares: list[list[Piece]] = [[] for _ in range(processes)]
    costs = [0] * processes
    for piece in sorted(pieces, key=lambda piece: -piece.cost):
        least = costs.index(min(costs))
        shares[least].append(piece)
        costs[least] += piece.cost
    return [_united(one) for one in shares]


def _united(share: Sequence[Piece]) -> list[Piece]:
    """Pieces of one category as one, so that its query images are seen once."""
    found: dict[str, Piece] = {}
    for piece in share:
        before = found.get(piece.category, Piece(piece.category, (), 0))
        draws = tuple(sorted(before.draws + piece.draws))
        found[piece.category] = Piece(piece.category, draws, before.cost + piece.cost)
    return list(found.values())


def score_missing(
    raw: RawFolder,
    pieces: Sequence[Piece],
    draws: Sequence[Sequence[CategoryPlan]],
    references: str,
    source: Source,
    score: Score,
) -> None:
    """Score what has no whole file yet, and write it category by category. pieces: one a category."""
    groups: list[Group] = []
    waiting: dict[str, tuple[tuple[int, ...], int]] = {}  # category -> (draws to write, groups to wait for)
    for piece in pieces:
        if 0 in piece.draws and not raw.has_queries(piece.category):
            raw.write_queries(piece.category, queries_of(source, indices_of(draws[0], piece.category)))
        missing = tuple(d for d in piece.draws if not raw.has_scores(d, piece.category))
        if missing:
            plans = [[plan for plan in draws[d] if plan.category == piece.category] for d in missing]
            found = [Group(of_view, (references,) * len(missing)) for of_view in zip(*plans, strict=True)]
            groups += found
            waiting[piece.category] = missing, len(found)
    done: list[tuple[Group, list[Scores]]] = []
    for group, scores in score(groups):
        done.append((group, scores))
        missing, count = waiting[group.category]
        if len(done) == count:
            order = np.argsort(np.concatenate([group.queries for group, _ in done]))
            for at, draw in enumerate(missing):
                raw.write_scores(draw, group.category, in_order([scores[at] for _, scores in done], order))
            done = []


def in_order(parts: Sequence[Scores], order: np.ndarray) -> Scores:
    """The scores of a category's viewpoints as those of one category, its queries in this order."""
    margins = np.concatenate([part.margins for part in parts], axis=1)[:, order]
    return Scores(parts[0].shots, margins, np.concatenate([part.maps for part in parts], axis=1)[:, order])


def indices_of(plans: Sequence[CategoryPlan], category: str) -> list[int]:
    """A category's queries, from whatever viewpoint, in the source's order: the order of its raw files."""
    return sorted(index for plan in plans if plan.category == category for index in plan.queries)


def queries_of(source: Source, indices: Sequence[int]) -> Queries:
    """What is known of queries: keys, verdicts, masks. Loads them."""
    keys = keys_of(source) if hasattr(source, "keys") else None
    names, masks, shape = [], [], (0, 0)
    for index in indices:
        sample = source[index]
        names.append(sample.key if keys is None else keys[index])
        shape = sample.image.shape[:2]
        masks.append(None if sample.mask is None else pack_masks([sample.mask], shape)[0])
    empty = pack_masks([None], shape)[0]
    return Queries(
        keys=np.array(names),
        labels=np.array([bool(source.records[index].defective) for index in indices]),
        masked=np.array([mask is not None for mask in masks]),
        masks=np.stack([empty if mask is None else mask for mask in masks]),
        shape=(int(shape[0]), int(shape[1])),
    )
