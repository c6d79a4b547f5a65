"""The few-shot protocol: which references, which queries, under which control; then margins and maps per category.

A draw picks an ordered set of references per category; k shots are its first k, so one prefix of references serves
every shot count. References and draws are named in the result, so a number can be reproduced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import jax
import numpy as np

from iadgpt_jax.data.sources.entry import VALIDATION
from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.metrics import image_metrics, pixel_metrics
from iadgpt_jax.infer.prefetch import prefetch
from iadgpt_jax.infer.prefix import Prefix
from iadgpt_jax.infer.scorer import Scorer

CONTROLS = ("own", "wrong", "none")
IN_FLIGHT = 4  # batches dispatched before the first of them is fetched
REFERENCE_POOL = 8  # good samples set aside for references where the source does not split itself


@dataclass(frozen=True)
class CategoryPlan:
    """One category of one draw: indices of its ordered references and of its queries, none of which is a reference."""

    category: str
    references: tuple[int, ...]
    queries: tuple[int, ...]


@dataclass
class CategoryScores:
    """Of one category at one shot count: margins float[n] (infer/margin.py), labels bool[n], maps float[n, h, w] on the
    token grid."""

    category: str
    indices: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)


def draw_plans(
    source: Source, shots: Sequence[int], draw: int, seed: int = 0, references: str = "own", categories=None
) -> list[CategoryPlan]:
    """The plans of one draw. `references`: "own" category's, a "wrong" category's (that of the next name), or "none"
    shown.

    References come from good samples of the train split where the source has one, otherwise from the first
    REFERENCE_POOL good ones; queries are all other test samples. What is drawn for a category follows from
    the seed, the draw, its name and its own good samples alone: the same with other categories around it, or with only
    some of them evaluated (`categories`; empty: all).

    Raises:
      InputError: a category is unknown, has too few good samples or queries of one kind only, or there is no other
        category to lend wrong references.
    """
    if references not in CONTROLS:
        raise ValueError(f"references={references!r}: choose one of {CONTROLS}")
    pools: dict[str, list[int]] = {}
    queries: dict[str, list[int]] = {}
    has_train = any(record.split == "train" for record in source.records)
    for index, record in enumerate(source.records):
        if record.defective is None or record.split == VALIDATION:
            continue  # nobody says whether it is good, or it is there to choose settings by: no reference and no query
        pool, rest = pools.setdefault(record.category, []), queries.setdefault(record.category, [])
        spare = record.split == "train" if has_train else len(pool) < REFERENCE_POOL
        if not record.defective and spare:
            pool.append(index)
        elif record.split != "train":
            rest.append(index)
    names, most = list(pools), max(shots)
    if unknown := sorted(set(categories or ()) - set(names)):
        raise InputError(f"source {source.name} has no category {', '.join(unknown)}; it has {', '.join(names)}")
    if references == "wrong" and len(names) < 2:
        raise InputError(f"source {source.name} holds {names[0]} alone: no other category can lend wrong references")
    plans = []
    turn = sorted(names)
    for name in names:
        if categories and name not in categories:
            continue
        lender = turn[(turn.index(name) + 1) % len(turn)] if references == "wrong" else name
        pool = pools[lender]
        kinds = {source.records[i].defective for i in queries[name]}
        if len(pool) < most or len(kinds) < 2:
            raise InputError(
                f"category {name} of {source.name} cannot be evaluated at {most} shots: it needs {most} good reference "
                f"images of {lender} (found {len(pool)}), and good as well as defective test images"
            )
        rng = np.random.default_rng([seed, draw, *name.encode()])
        chosen = tuple(pool[i] for i in rng.permutation(len(pool))[:most])
        plans.append(CategoryPlan(name, chosen, tuple(queries[name])))
    return plans


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
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[Scored]:
    """Score every query under every setting. `most` queries at once; `watch(items, total)` may report progress over
    batches of queries.

    References are read once per set, query images seen once for all settings and shot counts. Pictures are decoded by
    threads while the device works, and results fetched a few batches late, so that it need not wait.
    """
    results = [{k: {p.category: CategoryScores(p.category) for p in s.plans} for k in shots} for s in settings]
    pool = [plan.queries for plan in settings[0].plans]
    if any([plan.queries for plan in setting.plans] != pool for setting in settings):
        raise ValueError("settings that run together must ask about the same queries")
    longest = max(len(queries) for queries in pool)
    room = scorer.room(-(-longest // -(-longest // most)))  # batches of one size, as full as can be
    batches = [(c, queries[at : at + room]) for c, queries in enumerate(pool) for at in range(0, len(queries), room)]

    def load(batch):
        """What the host has to do: a category's sets of references (with its first batch), and a batch of queries."""
        category, indices = batch
        sets = {setting.plans[category].references for setting in settings} if indices[0] == pool[category][0] else ()
        laid = {chosen: scorer.lay_out([source[i].image for i in chosen], ratio) for chosen in sets}
        return category, indices, laid, scorer.questions([source[i].image for i in indices], room)

    def keep(waiting) -> None:
        category, indices, grids, number, asked = waiting[0]
        margins, maps = jax.device_get(waiting[1])
        for k in shots:
            found = results[number][k][settings[number].plans[category].category]
            at = asked.index(0 if settings[number].references == "none" else k)
            found.indices.extend(indices)
            found.labels.extend(source.records[i].defective for i in indices)
            found.margins.extend(margins[: len(indices), at].tolist())
            found.maps.extend(m[: h * w].reshape(h, w) for m, (h, w) in zip(maps[:, at], grids, strict=False))

    prefixes: dict[tuple[int, ...], Prefix] = {}
    in_flight: deque = deque()
    for category, indices, laid, asked_about in watch(prefetch(load, batches), len(batches)):
        if laid:
            prefixes = {chosen: scorer.prefill(rows) for chosen, rows in laid.items()}
        images = scorer.encode_images(asked_about)
        grids = [tuple(grid) for grid in images.question.grid[: len(indices)]]
        for number, setting in enumerate(settings):
            asked = (0,) if setting.references == "none" else tuple(shots)
            found = scorer.score(prefixes[setting.plans[category].references], images, asked)
            in_flight.append(((category, indices, grids, number, asked), found))
        while len(in_flight) > IN_FLIGHT * len(settings):
            keep(in_flight.popleft())
    while in_flight:
        keep(in_flight.popleft())
    return results


def measure(source: Source, scored: dict[str, CategoryScores], full: bool = False) -> dict[str, dict[str, float]]:
    """{category: metrics}: images ranked by margin, pixels by maps upsampled bilinearly to the masks' resolution. A
    category with a defect that nobody drew, or whose defects are all too small to leave a pixel at this size, gets
    image metrics alone."""
    metrics = {}
    for name, found in scored.items():
        metrics[name] = image_metrics(np.array(found.margins), np.array(found.labels))
        samples: list[Sample] = [source[i] for i in found.indices]
        if all(sample.mask is not None for sample in samples):
            masks = np.stack([sample.mask for sample in samples])
            if not masks.any():
                continue
            maps = np.stack([upsample(m, mask.shape) for m, mask in zip(found.maps, masks, strict=True)])
            metrics[name] |= pixel_metrics(maps, masks, full=full)
    return metrics


def upsample(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float[h, w] -> float32[shape], bilinear with half-pixel centres as in training."""
    return cv2.resize(cells.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
