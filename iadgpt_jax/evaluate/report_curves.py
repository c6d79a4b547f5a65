"""Curves and histograms of an evaluation, category by category, and the charts that a report makes of them.

Image curves are means over draws and categories: the areas beneath are the numbers of the table. Pixel curves are of
the first draw. Sizes: n queries, G places of curves.GRID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iadgpt_jax.evaluate.cases import Case, cases_of
from iadgpt_jax.evaluate.charts import Bars, Line, histogram, line_chart, shot_colours
from iadgpt_jax.evaluate.curves import GRID, PixelCounts, area_under_roc, mean_curve, precision_at_grid, roc_at_grid
from iadgpt_jax.evaluate.measure import Options, Upsampled, image_scores
from iadgpt_jax.evaluate.page import value
from iadgpt_jax.evaluate.raw import Masks, Queries, Scores
from iadgpt_jax.evaluate.table import references

PANELS = 36  # categories whose own curves a page shows
_CURVES = {  # chart: (heading, metric of the table, x, y)
    "image_roc": ("Images: ROC", "image_auroc", "good products called defective", "defective products found"),
    "image_pr": ("Images: precision and recall", "image_ap", "recall", "precision"),
    "pixel_roc": ("Pixels: ROC", "pixel_auroc", "good pixels called defective", "defective pixels found"),
    "pixel_pr": ("Pixels: precision and recall", "pixel_ap", "recall", "precision"),
}


@dataclass
class CategoryCurves:
    """One category: curves {chart: {shots: float64[G]}}; scores of all draws at the most references; cases, threshold
    and the range of maps of the first draw at the most references."""

    name: str
    curves: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    good: np.ndarray = field(default_factory=lambda: np.zeros(0))
    defective: np.ndarray = field(default_factory=lambda: np.zeros(0))
    cases: list[Case] = field(default_factory=list)
    low: float = 0.0
    high: float = 1.0


def category_curves(
    name: str, queries: Queries, draws: Sequence[Callable[[], Scores]], options: Options
) -> CategoryCurves:
    """Read one category's draws one after the other. A category with queries of one kind only has no curves."""
    found = CategoryCurves(name)
    rocs: dict[int, list[np.ndarray]] = {}
    precisions: dict[int, list[np.ndarray]] = {}
    last: list[np.ndarray] = []
    for number, read in enumerate(draws):
        draw = read()
        ranked = [
            image_scores(margins, Upsampled(maps, Masks(queries), options.smoothing), options.image_score)
            for margins, maps in zip(draw.margins, draw.maps, strict=True)
        ]
        for k, of_shots in zip(draw.shots, ranked, strict=True):
            usable = np.isfinite(of_shots)
            labels = queries.labels[usable]
            if labels.any() and not labels.all():
                rocs.setdefault(k, []).append(roc_at_grid(of_shots[usable], labels))
                precisions.setdefault(k, []).append(precision_at_grid(of_shots[usable], labels))
        most = int(np.argmax(draw.shots))
        last.append(ranked[most])
        if number == 0:
            found.cases = cases_of(name, ranked[most], queries.labels)
            finite = draw.maps[most][np.isfinite(draw.maps[most])]
            if finite.size:
                found.low, found.high = float(finite.min()), float(finite.max())
            found.curves |= pixel_curves(queries, draw, options.smoothing)
    found.curves["image_roc"] = {k: mean_curve(curves) for k, curves in rocs.items()}
    found.curves["image_pr"] = {k: mean_curve(curves) for k, curves in precisions.items()}
    together, labels = np.concatenate(last), np.tile(queries.labels, len(last))
    found.good, found.defective = together[~labels], together[labels]
    return found


def pixel_curves(queries: Queries, draw: Scores, smoothing: float) -> dict[str, dict[int, np.ndarray]]:
    """{"pixel_roc": {shots: float64[G]}, "pixel_pr": …}, maps brought to the masks' size as for metrics; nothing where
    some mask is not known or there are not both kinds of pixels."""
    counts = []
    if not queries.masked.all():
        return {}
    for maps in draw.maps:
        finite = maps[np.isfinite(maps)]
        counts.append(PixelCounts(float(finite.min()), float(finite.max())) if finite.size else PixelCounts(0.0, 1.0))
    masks = Masks(queries)
    upsampled = [Upsampled(maps, masks, smoothing) for maps in draw.maps]
    for index, mask in enumerate(masks):
        for maps, of_shots in zip(upsampled, counts, strict=True):
            if np.isfinite(map_ := maps[index]).all():
                of_shots.add(map_, mask)
    known = [(k, one) for k, one in zip(draw.shots, counts, strict=True) if one.both]
    return {
        "pixel_roc": {k: one.roc_at_grid() for k, one in known},
        "pixel_pr": {k: one.precision_at_grid() for k, one in known},
    }


def overview(found: Sequence[CategoryCurves], metrics: Mapping[str, Mapping]) -> list[dict[str, Any]]:
    """The charts over all categories, a line per number of references, with the table's numbers in the legend.

    metrics: {shots: {metric: value}} of metrics.json. Charts without any curve are left out.
    """
    charts = []
    for chart, (heading, metric, x_label, y_label) in _CURVES.items():
        shots = sorted({k for one in found for k in one.curves.get(chart, ())})
        without = "0" in metrics  # no references: all numbers of them are the same curve
        shots = shots[:1] if without else shots
        colours = shot_colours(shots)
        lines = []
        for k in shots:
            curve = mean_curve([one.curves[chart][k] for one in found if k in one.curves.get(chart, ())])
            told = 0 if without else k
            note = value(metrics.get(str(told), {}).get(metric))
            lines.append(Line(references(told), *_shown(chart, curve), colours[k], note="" if note == "–" else note))
        if lines:
            drawn = line_chart(
                lines, x_label=x_label, y_label=y_label, x_range=(0.0, 1.0), y_range=(0.0, 1.0),
                diagonal=chart.endswith("roc"),
            )  # fmt: skip
            charts.append({"name": heading, "chart": drawn, "lines": lines})
    return charts


def score_histogram(found: Sequence[CategoryCurves], label: str, mark: float | None, **look) -> dict[str, Any] | None:
    """How the scores of good and of defective queries lie, over the given categories together."""
    good, defective = (np.concatenate([getattr(one, kind) for one in found] or [[]]) for kind in ("good", "defective"))
    if not good.size and not defective.size:
        return None
    parts = [Bars("good", good, "c2"), Bars("defective", defective, "c1")]
    return {"chart": histogram(parts, x_label=label, mark=mark, **look), "lines": [_key(part) for part in parts]}


def panels(found: Sequence[CategoryCurves], label: str) -> list[dict[str, Any]]:
    """Scores and ROC of each of the first PANELS categories at the most references."""
    made = []
    for one in found[:PANELS]:
        scores = score_histogram([one], label, one.cases[0].threshold if one.cases else None, bins=24)
        lines = []
        for chart, name, colour in (("image_roc", "images", "c1"), ("pixel_roc", "pixels", "c6")):
            of_shots = one.curves.get(chart) or {}
            if of_shots:
                curve = of_shots[max(of_shots)]
                lines.append(Line(name, *_shown(chart, curve), colour, note=f"{area_under_roc(curve):.3f}"))
        roc = None
        if lines:
            labels = {"x_label": "called defective though good", "y_label": "defective ones found"}
            roc = line_chart(lines, **labels, x_range=(0.0, 1.0), y_range=(0.0, 1.0), diagonal=True, size=(320, 190))
        if scores or roc:
            made.append({"name": one.name, "scores": scores, "roc": roc, "lines": lines})
    return made


def _shown(chart: str, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a line; a ROC begins in the corner."""
    return (np.r_[0.0, GRID], np.r_[0.0, curve]) if chart.endswith("roc") else (GRID, curve)


def _key(part: Bars) -> Line:
    return Line(part.name, np.zeros(0), np.zeros(0), part.colour, note=f"{len(part.values):,}")
