"""metrics.json of an evaluation directory, computed from its raw files: with a model or, much later, without one.

One category is in memory at a time. Nothing here imports JAX.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.measure import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    TEXT_METRICS,
    Measured,
    Options,
    combine,
    measure_category,
)
from iadgpt_jax.evaluate.raw import Masks, RawFolder
from iadgpt_jax.whole_file import write_json

METRICS, PROTOCOL, SUMMARY = "metrics.json", "protocol.json", "summary.json"


def compute_metrics(
    raw: RawFolder, options: Options, watch: Callable[[Iterable, int], Iterable] = lambda items, total: items
) -> dict[str, Any]:
    """What metrics.json says: the settings, `shots.{k}` as metrics.summarize says, and `undefined`.

    `watch(items, total)` may report progress over categories × draws. Raises InputError where raw files are missing or
    damaged, or do not go together.
    """
    settings = raw.settings()
    shots, draws, categories = settings["decides"]["shots"], settings["draws"], settings["categories"]
    measured: dict[int, list[dict[str, Measured]]] = {k: [{} for _ in range(draws)] for k in shots}
    pairs = [(category, draw) for category in categories for draw in range(draws)]
    at, queries = None, None
    for category, draw in watch(pairs, len(pairs)):
        if category != at:
            at, queries = category, raw.queries(category)
        scores = raw.scores(draw, category)
        if list(scores.shots) != shots or scores.margins.shape[1] != len(queries.labels):
            raise InputError(
                f"the raw files of category {category}, draw {draw}, in {raw.directory} do not go together; remove "
                "them, and evaluate again into the same folder"
            )
        for number, k in enumerate(shots):
            measured[k][draw][category] = measure_category(
                scores.margins[number], queries.labels, scores.maps[number], Masks(queries), queries.masked, options
            )
    undefined: dict[str, dict[str, str]] = {
        name: dict.fromkeys((*IMAGE_METRICS, *TEXT_METRICS, *PIXEL_METRICS), "no test images of known verdict")
        for name in settings["without_queries"]
    }
    summaries = {}
    for k in shots:
        summaries[str(k)], missing = combine(measured[k])
        for category, reasons in missing.items():
            for metric, why in reasons.items():
                undefined.setdefault(category, {}).setdefault(metric, why)
    told = {name: value for name, value in settings.items() if name not in ("format", "decides", "categories", "draws")}
    decides = settings["decides"]
    return {
        "shots": summaries,
        **told,
        "seeds": draws,
        **{name: decides[name] for name in ("seed", "references", "ratio", "side", "reference_list", "digest")},
        "image_score": options.image_score,
        "smoothing": options.smoothing or "none",
        "undefined": undefined,
    }


def write_metrics(directory: Path, results: Mapping[str, Any]) -> None:
    write_json(directory / METRICS, results)


def write_summary(root: Path, directories: Sequence[Path]) -> None:
    """summary.json beside several evaluation directories: the headline numbers of each, and where the rest is."""
    evaluations = []
    for directory in directories:
        results = json.loads((directory / METRICS).read_text())
        headline = {
            k: {name: value for name, value in summary.items() if name != "per_category"}
            for k, summary in results["shots"].items()
        }
        named = {name: results[name] for name in ("dataset", "dataset_name", "ratio", "image_score", "smoothing")}
        where = directory.relative_to(root).as_posix()
        evaluations.append({"directory": where, **named, "shots": headline, "undefined": results["undefined"]})
    write_json(root / SUMMARY, {"evaluations": evaluations})


def evaluations_in(root: Path) -> list[Path]:
    """The evaluation directories that `root` is or holds. Raises InputError where there is none."""
    if (root / "raw").is_dir():
        return [root]
    try:
        listed = json.loads((root / SUMMARY).read_text())["evaluations"]
        found = [root / one["directory"] for one in listed]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{root} holds no raw results: give --from the --out of an evaluation (no raw/, and no {SUMMARY} that can "
            f"be read: {error})"
        ) from error
    return found
