"""A sweep as a plot: a panel for every column, settings from left to right; below, the paper's own numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from iadgpt_jax.sweep.collect import columns_of
from iadgpt_jax.sweep.table import published_columns

OURS, THEIRS = "#1b6ca8", "#b5541c"


def draw(found: Mapping, *files: Path) -> None:
    """Write the plot of results.json's contents; the files' endings say how (svg, png). Every seed is a dot, the mean
    a bar's middle, its length ± one standard deviation. The same numbers give the same SVG."""
    columns, theirs = columns_of(found), published_columns(found)
    names = [row["name"] for row in found["rows"]]
    below = bool(theirs)
    with rc_context({"font.size": 9, "svg.hashsalt": "sweep"}):
        figure = Figure(
            figsize=(max(2.6, 0.5 * len(names) + 1.2) * len(columns), 2.6 * (1 + below)), layout="constrained"
        )
        panels = figure.subplots(1 + below, len(columns), squeeze=False, sharex=True)
        for at, column in enumerate(columns):
            panel = panels[0][at]
            panel.set_title(column.head)
            if not any(column.name in row["metrics"] for row in found["rows"]):
                panel.text(0.5, 0.5, "not measured", ha="center", transform=panel.transAxes)
                panel.set_yticks([])
            for x, row in enumerate(found["rows"]):
                metric = row["metrics"].get(column.name)
                if metric is None:
                    continue
                values = [value * column.scale for value in metric["values"].values()]
                panel.plot([x] * len(values), values, "o", color=OURS, alpha=0.35, markersize=4, markeredgewidth=0)
                error = (metric["std"] or 0.0) * column.scale
                panel.errorbar(x, metric["mean"] * column.scale, error, fmt="_", color=OURS, capsize=3, markersize=12)
            if below:
                lower = panels[1][at]
                known = [(x, row["published"][column.name]) for x, row in enumerate(found["rows"])
                         if column.name in row["published"]]  # fmt: skip
                lower.plot(*zip(*known, strict=True) if known else ([], []), "D", color=THEIRS, markersize=5)
        for row, label in zip(panels, ("measured", found["source"]), strict=False):
            row[0].set_ylabel(label)
            for panel in row:
                panel.grid(axis="y", color="#dddddd", linewidth=0.6)
                panel.set_axisbelow(True)
                panel.margins(x=0.15, y=0.15)
        for panel in panels[-1]:
            panel.set_xticks(range(len(names)), names, rotation=35, ha="right")
        for file in files:
            plain = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(file, dpi=150, metadata=plain)
