"""The few-shot protocol: which references, which queries, under which control; then scores and maps per category.

A draw picks an ordered set of references per category; k shots are its first k, so one pass over a category's queries
measures every shot count. References and draws are named in the result, so a number can be reproduced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.data.tasks.inspect import detect
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.metrics import image_metrics, pixel_metrics
from iadgpt_jax.models.iadgpt import Rows

CONTROLS = ("own", "wrong", "none")
REFERENCE_POOL = 8  # good samples set aside for references where the source does not split itself


@dataclass(frozen=True)
class CategoryPlan:
    """One category of one draw: indices of its ordered references and of its queries, none of which is a reference."""

    category: str
    references: tuple[int, ...]
    queries: tuple[int, ...]


@dataclass
class CategoryScores:
    """Of one category at one shot count: scores float[n], labels bool[n], maps float[n, h, w] on the token grid."""

    category: str
    indices: list[int] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)


def draw_plans(
    source: Source, shots: Sequence[int], draw: int, seed: int = 0, references: str = "own", categories=None
) -> list[CategoryPlan]:
    """The plans of one draw. `references`: "own" category's, a "wrong" category's (the next one's), or "none" shown.

    References come from good samples of the train split where the source has one, otherwise from the first
    REFERENCE_POOL good ones; queries are all other test samples. What is drawn for a category does not depend on which
    others are evaluated (`categories`; empty: all).

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
    for number, name in enumerate(names):
        if categories and name not in categories:
            continue
        lender = names[(number + 1) % len(names)] if references == "wrong" else name
        pool = pools[lender]
        kinds = {source.records[i].defective for i in queries[name]}
        if len(pool) < most or len(kinds) < 2:
            raise InputError(
                f"category {name} of {source.name} cannot be evaluated at {most} shots: it needs {most} good reference "
                f"images of {lender} (found {len(pool)}), and good as well as defective test images"
            )
        rng = np.random.default_rng([seed, draw, number])
        chosen = tuple(pool[i] for i in rng.permutation(len(pool))[:most])
        plans.append(CategoryPlan(name, chosen, tuple(queries[name])))
    return plans


def instances(
    source: Source, plan: CategoryPlan, shots: Sequence[int], blocks: int, ratio: float, references: str
) -> Iterator[tuple[Instance, list[tuple[int, int]]]]:
    """Instances of up to `blocks` query blocks that share the plan's references, with (query index, shots) of each. The
    masks stay behind: nothing is supervised here, and images need not fill their slots."""
    shared = tuple(source[i].image for i in plan.references)
    asked = [(index, k) for index in plan.queries for k in shots]
    for start in range(0, len(asked), blocks):
        part = asked[start : start + blocks]
        unmasked = [(replace(source[index], mask=None), k) for index, k in part]
        questions = tuple(detect(sample, 0 if references == "none" else k) for sample, k in unmasked)
        yield Instance("evaluate", questions, shared, ratio), part


def run_draw(
    score: Callable[[Rows], tuple[np.ndarray, np.ndarray]],
    source: Source,
    plans: Sequence[CategoryPlan],
    encoder: Encoder,
    shape: RowShape,
    rows: int,
    shots: Sequence[int],
    *,
    ratio: float = 1.0,
    references: str = "own",
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> dict[int, dict[str, CategoryScores]]:
    """Score every query of every plan: {shots: {category: CategoryScores}}. `score` maps rows of `shape` to (scores
    [B, M], maps [B, M, N]); `watch(items, total)` may report progress over batches."""
    blocks = shape.maps
    jobs = [(plan, *job) for plan in plans for job in instances(source, plan, shots, blocks, ratio, references)]
    results = {k: {plan.category: CategoryScores(plan.category) for plan in plans} for k in shots}
    batches = [jobs[start : start + rows] for start in range(0, len(jobs), rows)]
    for batch in watch(batches, len(batches)):
        encodeds = [encoder(instance) for _, instance, _ in batch]
        packed = pack(encodeds, rows, shape, encoder.config.vision)
        scores, maps = (np.asarray(x) for x in score(packed.rows))
        for (plan, _, part), encoded, where in zip(batch, encodeds, packed.where, strict=True):
            if where is None:  # shared parts of a flat row may not fit together; one instance always fits one row
                raise ValueError(f"{plan.category}: {rows} rows did not hold {rows} instances")
            row, slots, _ = where
            for (index, k), slot in zip(part, slots, strict=True):
                grid = encoded.images[-1].grid
                found = results[k][plan.category]
                found.indices.append(index)
                found.labels.append(source.records[index].defective)
                found.scores.append(float(scores[row, slot]))
                found.maps.append(maps[row, slot, : grid[0] * grid[1]].reshape(grid))
    return results


def measure(source: Source, scored: dict[str, CategoryScores], full: bool = False) -> dict[str, dict[str, float]]:
    """{category: metrics} at the masks' resolution, maps upsampled bilinearly. Unmasked defects leave pixels out."""
    metrics = {}
    for name, found in scored.items():
        metrics[name] = image_metrics(np.array(found.scores), np.array(found.labels))
        samples: list[Sample] = [source[i] for i in found.indices]
        if all(sample.mask is not None for sample in samples):
            masks = np.stack([sample.mask for sample in samples])
            maps = np.stack([upsample(m, mask.shape) for m, mask in zip(found.maps, masks, strict=True)])
            metrics[name] |= pixel_metrics(maps, masks, full=full)
    return metrics


def upsample(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float[h, w] -> float32[shape], bilinear with half-pixel centres as in training."""
    return cv2.resize(cells.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
