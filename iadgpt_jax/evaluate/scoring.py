"""Margins and maps of queries against their references, for several draws at once.

References are read once per set, query images seen once for all settings (draws, or controls) and shot counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate.protocol import CategoryPlan
from iadgpt_jax.evaluate.raw import Scores
from iadgpt_jax.evaluate.work import Group
from iadgpt_jax.infer.prefetch import prefetch
from iadgpt_jax.infer.prefix import Prefix
from iadgpt_jax.infer.scorer import Scorer

IN_FLIGHT = 4  # batches dispatched before the first of them is fetched

Watch = Callable[[Iterable, int], Iterable]


@dataclass
class CategoryScores:
    """Of one category at one shot count: margins float[n] (infer/margin.py), labels bool[n], maps float[n, h, w] on the
    token grid."""

    category: str
    indices: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """One draw to run: its plans, in the order of the source's categories, and which references are shown."""

    plans: Sequence[CategoryPlan]
    references: str = "own"


Scored = dict[int, dict[str, CategoryScores]]  # {shots: {category: …}}


def run(
    scorer: Scorer,
    source: Source,
    settings: Sequence[Setting],
    shots: Sequence[int],
    *,
    ratio: float = 1.0,
    most: int = 16,
    watch: Watch = lambda items, total: items,
) -> list[Scored]:
    """Score every query under every setting. `most` queries at once; `watch(items, total)` may report progress over
    batches of queries."""
    results = [{k: {p.category: CategoryScores(p.category) for p in s.plans} for k in shots} for s in settings]
    groups = grouped(settings)
    room = batch_room(scorer, [group.queries for group in groups], most)
    for group, found in score_groups(scorer, source, groups, shots, room, ratio=ratio, watch=watch):
        labels = [source.records[i].defective for i in group.queries]
        for result, scores in zip(results, found, strict=True):
            for number, k in enumerate(shots):
                category = result[k][group.category]
                category.indices.extend(group.queries)
                category.labels.extend(labels)
                category.margins.extend(scores.margins[number].tolist())
                category.maps.extend(scores.maps[number])
    return results


def grouped(settings: Sequence[Setting]) -> list[Group]:
    """Settings that run together, category by category. Raises ValueError where they ask about different queries."""
    queries = [[plan.queries for plan in setting.plans] for setting in settings]
    if any(asked != queries[0] for asked in queries):
        raise ValueError("settings that run together must ask about the same queries")
    kinds = tuple(setting.references for setting in settings)
    return [Group(plans, kinds) for plans in zip(*(setting.plans for setting in settings), strict=True)]


def batch_room(scorer: Scorer, queries: Sequence[Sequence[int]], most: int) -> int:
    """Places of every batch: batches of one size, as full as can be with at most `most` queries in each. It depends on
    all groups of an evaluation, so that a number does not depend on which of them are scored in one process."""
    longest = max(map(len, queries))
    return scorer.room(-(-longest // -(-longest // most)))


def score_groups(
    scorer: Scorer,
    source: Source,
    groups: Sequence[Group],
    shots: Sequence[int],
    room: int,
    *,
    ratio: float = 1.0,
    watch: Watch = lambda items, total: items,
) -> Iterator[tuple[Group, list[Scores]]]:
    """Every group, once it is scored, with the scores of its queries under each of its settings.

    Pictures are decoded by threads while the device works, and results fetched a few batches late, so that it need not
    wait. Only groups that are being scored are in memory. Raises ValueError where images of a group differ in size.
    """
    batches = [
        (number, group.queries[at : at + room])
        for number, group in enumerate(groups)
        for at in range(0, len(group.queries), room)
    ]

    def load(batch):
        """What the host has to do: a group's sets of references (with its first batch), and a batch of queries."""
        number, indices = batch
        group = groups[number]
        sets = {plan.references for plan in group.plans} if indices[0] == group.queries[0] else ()
        laid = {chosen: scorer.lay_out([source[i].image for i in chosen], ratio) for chosen in sets}
        return number, indices, laid, scorer.questions([source[i].image for i in indices], room)

    parts: list[list[tuple[np.ndarray, np.ndarray]]] = []  # of the group being fetched: per setting, batch by batch

    def keep(waiting) -> Iterator[tuple[Group, list[Scores]]]:
        (number, indices, (high, wide), setting, asked), pending = waiting
        group = groups[number]
        margins, maps = jax.device_get(pending)
        at = [asked.index(0 if group.references[setting] == "none" else k) for k in shots]
        count = len(indices)
        cells = maps[:count, at, : high * wide].reshape(count, len(at), high, wide)
        if not parts:
            parts.extend([] for _ in group.plans)
        parts[setting].append((margins[:count, at].T, np.moveaxis(cells, 1, 0)))
        if indices[-1] == group.queries[-1] and setting == len(group.plans) - 1:
            scores = [
                Scores(tuple(shots), *(np.concatenate(part, axis=1) for part in zip(*of_setting, strict=True)))
                for of_setting in parts
            ]
            parts.clear()
            yield group, scores

    prefixes: dict[tuple[int, ...], Prefix] = {}
    in_flight: deque = deque()
    for number, indices, laid, asked_about in watch(prefetch(load, batches), len(batches)):
        if laid:
            prefixes = {chosen: scorer.prefill(rows) for chosen, rows in laid.items()}
        grids = asked_about[1].grid[: len(indices)]
        if (grids != grids[0]).any():
            raise ValueError(f"queries of {groups[number].category} differ in size: open their source with a side")
        grid = tuple(grids[0].tolist())
        images = scorer.encode_images(asked_about)
        group = groups[number]
        for setting, (plan, kind) in enumerate(zip(group.plans, group.references, strict=True)):
            asked = (0,) if kind == "none" else tuple(shots)
            found = scorer.score(prefixes[plan.references], images, asked)
            in_flight.append(((number, indices, grid, setting, asked), found))
        while len(in_flight) > IN_FLIGHT * len(group.plans):
            yield from keep(in_flight.popleft())
    while in_flight:
        yield from keep(in_flight.popleft())
