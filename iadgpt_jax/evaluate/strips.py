"""Category by category: every category's AUROC as dots on a strip, beside the numbers. Both reports show it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from iadgpt_jax.evaluate.charts import Line, shot_colours
from iadgpt_jax.evaluate.page import mean_or_nan
from iadgpt_jax.evaluate.table import by_shots, references

METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
_STRIP = (0.4, 1.0)  # the range of AUROC that a strip of dots shows; guessing, .5, lies inside


def category_strips(measured: Mapping, most: int | None = None) -> dict | None:
    """Rows from the best category down: its name, dots on a strip, image and pixel AUROC per number of references. At
    most `most` rows, `left_out` says how many more there are; None where nothing was measured per category.

    `measured`: {shots: {"per_category": {name: {metric: value}}}}.
    """
    shots = [k for k in by_shots(measured) if measured[k].get("per_category")]
    if not shots:
        return None
    last = measured[shots[-1]]["per_category"]
    colours = shot_colours(shots)
    rows = []
    names = sorted(last, key=lambda name: _falling(last[name].get("image_auroc")))
    for name in names[:most]:
        values = {k: measured[k]["per_category"].get(name, {}) for k in shots}
        means = {k: mean_or_nan(values[k].get("image_auroc")) for k in shots}
        dots = [(colours[k], _along(mean)) for k, mean in means.items() if math.isfinite(mean)]
        at = [where for _, where in dots]
        numbers = [(k == shots[-1], values[k].get(metric)) for metric in METRICS for k in shots]
        rows.append({"name": name, "dots": dots, "span": (min(at), max(at)) if at else None, "numbers": numbers})
    return {
        "heads": [(k == shots[-1], metric, k) for metric in ("image", "pixel") for k in shots],
        "keys": [Line(references(k), np.zeros(0), np.zeros(0), colours[k]) for k in shots],
        "grid": [(_along(mark), mark == 0.5) for mark in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        "axis": [(_along(mark), f"{mark:.1f}") for mark in (0.5, 0.7, 0.9, 1.0)],
        "rows": rows,
        "left_out": len(names) - len(rows),
    }


def _falling(value) -> tuple[bool, float]:
    """To sort by, highest first, what was not measured last."""
    mean = mean_or_nan(value)
    return (True, 0.0) if math.isnan(mean) else (False, -mean)


def _along(value: float) -> float:
    """Where on a strip a value stands, in percent of its width; beyond its range at its ends."""
    low, high = _STRIP
    return round(4 + 92 * (min(max(value, low), high) - low) / (high - low), 1)
