"""The tables of a benchmark of answers, VisA-D&R or MMAD: its scores beside published ones, and their parts."""

from __future__ import annotations

from collections.abc import Mapping

from iadgpt_jax.evaluate.published import published_answers
from iadgpt_jax.evaluate.table_files import Cell, Table

_SCORES = {"accuracy": "accuracy", "sbert": "SBERT", "gpt_score": "GPT-Score"}
_PARTS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}


def answer_tables(metrics: Mapping) -> list[Table]:
    """The tables of metrics.json that has a `benchmark`, "visa_dr" or "mmad"; of any other none."""
    made = {"visa_dr": _visa_dr, "mmad": _mmad}.get(metrics.get("benchmark"))
    return made(metrics) if made else []


def _visa_dr(metrics: Mapping) -> list[Table]:
    detection, reasoning = metrics["detection"], metrics["reasoning"]
    own = {"accuracy": detection["accuracy"], "sbert": reasoning["sbert"], "gpt_score": reasoning["gpt_score"]}
    beside = _beside("visa_dr", metrics, own, _SCORES)
    by_detection, by_reasoning = detection["per_category"], reasoning["per_category"]
    rows: list[list[Cell]] = [
        [
            name,
            *(by_detection.get(name, {}).get(part) for part in _PARTS),
            *(by_reasoning.get(name, {}).get(score) for score in ("sbert", "gpt_score")),
        ]
        for name in dict.fromkeys([*by_detection, *by_reasoning])
    ]
    heads = ["category", *_PARTS.values(), "SBERT", "GPT-Score"]
    return [beside, Table("categories", "VisA-D&R, category by category.", heads, rows)]


def _mmad(metrics: Mapping) -> list[Table]:
    tasks = list(metrics["per_task"])
    own = {**metrics["per_task"], "average": metrics["score"]}
    beside = _beside("mmad", metrics, own, {**{task: task for task in tasks}, "average": "average"})
    rows: list[list[Cell]] = [
        [name, *(found["tasks"].get(task, {}).get("accuracy") for task in tasks), found["score"]]
        for name, found in metrics["per_dataset"].items()
    ]
    caption = "MMAD, accuracy by dataset and task; the average is over tasks."
    return [beside, Table("categories", caption, ["dataset", *tasks, "average"], rows)]


def _beside(benchmark: str, metrics: Mapping, own: Mapping, scores: Mapping[str, str]) -> Table:
    """A row of these results, then the published ones; `scores` are the columns, key to name."""
    title, published = published_answers(benchmark)
    size = f"{metrics.get('questions', 0):,} questions about {metrics.get('images', 0):,} images"
    rows: list[list[Cell]] = [["this checkpoint", *(own.get(score) for score in scores), size, ""]]
    rows += [
        [row["method"], *(row["numbers"].get(score) for score in scores), row["what"], row["source"]]
        for row in published
    ]
    return Table(
        "published",
        f"{title}: these results beside published ones.",
        ["method", *scores.values(), "what", "source"],
        rows,
    )
