"""The results of one evaluation for a terminal: headline table, every metric by category, what is undefined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iadgpt_jax.data.ancestry import NAMED, few
from iadgpt_jax.evaluate.measure import IMAGE_METRICS, PIXEL_METRICS, TEXT_METRICS
from iadgpt_jax.evaluate.table import as_shown, references, render_table, summary_rows

COLUMNS = {
    "image_auroc": "AUROC", "image_ap": "AP", "image_f1_max": "F1-max", "text_accuracy": "answers",
    "pixel_auroc": "AUROC", "pixel_ap": "AP", "pixel_f1_max": "F1-max", "pixel_aupro": "AUPRO@.3",
}  # fmt: skip
WIDTH = 8


def result_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of metrics.json's content."""
    results = as_shown(results)
    ratio = f" at ratio {results['ratio']:g}" if results["ratio"] != 1 else ""
    yield f"{results['dataset_name']}{ratio}"
    if results["references"] != "own":
        yield f"a control, references: {results['references']}"
    if seen := results["trained_on"]:
        yield f"not few-shot results, for the model was trained on {few(seen)}"
    if results["image_score"] != "answer":
        yield f"images are ranked by: {results['image_score']}"
    if results["smoothing"] != "none":
        yield f"maps are smoothed, sigma {results['smoothing']:g} pixels"
    yield render_table(summary_rows(results))
    for k, summary in results["shots"].items():
        yield from category_lines(references(k), summary)
    for why, categories in by_reason(results["undefined"]).items():
        named = ", ".join(categories[:NAMED]) + (f" and {len(categories) - NAMED} more" if categories[NAMED:] else "")
        yield f"undefined, {why[0]} of {named}: {why[1]}"


def category_lines(title: str, summary: Mapping[str, Any]) -> Iterator[str]:
    """A line for every category with all metrics, and their means."""
    rows = list(summary["per_category"].items())
    if len(rows) > 1:
        rows.append(("mean", {m: value["mean"] for m, value in summary.items() if m != "per_category"}))
    wide = max(len(title), *(len(name) for name, _ in rows))
    kinds = (("image", len(IMAGE_METRICS) + len(TEXT_METRICS)), ("pixel", len(PIXEL_METRICS)))
    yield ""
    yield " " * wide + "".join("  " + f" {kind} ".center(count * (WIDTH + 2) - 2, "─") for kind, count in kinds)
    yield title.ljust(wide) + "".join(f"  {heading:>{WIDTH}}" for heading in COLUMNS.values())
    for name, metrics in rows:
        yield name.ljust(wide) + "".join(f"  {_text(metrics.get(metric)):>{WIDTH}}" for metric in COLUMNS)


def by_reason(undefined: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], list[str]]:
    """(which metrics, why) -> the categories."""
    found: dict[tuple[str, str], list[str]] = {}
    for category, reasons in undefined.items():
        kinds: dict[str, list[str]] = {}
        for metric, why in reasons.items():
            kinds.setdefault(why, []).append(metric)
        for why, metrics in kinds.items():
            found.setdefault((_kind(metrics), why), []).append(category)
    return found


def _kind(metrics: Sequence[str]) -> str:
    for name, group in (("image metrics", IMAGE_METRICS), ("pixel metrics", PIXEL_METRICS)):
        if set(metrics) == set(group):
            return name
    return "all metrics" if set(metrics) == set(COLUMNS) else ", ".join(metrics)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
