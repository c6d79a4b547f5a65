"""A whole dataset inspected by a checkpoint and by the PyTorch twin of its export: margins, maps and AUROC of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from iadgpt_jax.checkpoint.load import LoadedModel
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate.measure import combine, measure
from iadgpt_jax.evaluate.protocol import draw_plans
from iadgpt_jax.evaluate.scoring import CategoryScores
from iadgpt_jax.infer.inspector import Inspector

METRICS = ("image_auroc", "pixel_auroc")


def inspect_both(
    model: LoadedModel,
    theirs,
    source: Source,
    *,
    shots: int = 4,
    seed: int = 0,
    categories: Sequence[str] = (),
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> dict[str, float]:
    """One draw of references, every query of it, by both sides' own `inspect_many`. theirs: the twin.

    Returns figures as in `parity.Report`: "margin.max_abs", "score.max_abs" and "map.max_abs" over all inspections, and
    for each metric "image_auroc.ours", "image_auroc.theirs" … (means over categories). Raises InputError for an unknown
    category.
    """
    sides = {"ours": Inspector(model), "theirs": theirs}
    plans = draw_plans(source, (shots,), 0, seed, categories=categories)
    found = {side: {plan.category: CategoryScores(plan.category) for plan in plans} for side in sides}
    apart = {"margin.max_abs": 0.0, "score.max_abs": 0.0, "map.max_abs": 0.0}
    for plan in watch(plans, len(plans)):
        references = [source[i].image for i in plan.references]
        queries = [source[i] for i in plan.queries]
        results = {
            side: inspector.inspect_many([query.image for query in queries], references, explain=False)
            for side, inspector in sides.items()
        }
        for side, inspections in results.items():
            scores = found[side][plan.category]
            scores.indices += plan.queries
            scores.labels += [source.records[i].defective for i in plan.queries]
            scores.margins += [one.margin for one in inspections]
            scores.maps += [np.asarray(one.map) for one in inspections]
        for ours, other in zip(results["ours"], results["theirs"], strict=True):
            for figure in ("margin", "score"):
                difference = abs(getattr(ours, figure) - getattr(other, figure))
                apart[f"{figure}.max_abs"] = max(apart[f"{figure}.max_abs"], difference)
            apart["map.max_abs"] = max(apart["map.max_abs"], float(np.abs(ours.map - np.asarray(other.map)).max()))
    summaries = {side: combine([measure(source, scores)])[0] for side, scores in found.items()}
    return apart | {
        f"{metric}.{side}": float(summary[metric]["mean"])
        for metric in METRICS
        for side, summary in summaries.items()
        if metric in summary
    }
