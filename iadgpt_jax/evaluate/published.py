"""Numbers that others published, to stand beside one's own (published.json): AUROC on MVTec-AD and VisA in percent,
and the scores of answers on VisA-D&R and MMAD.

They are of large models on whole datasets: `what` says of which. A comparison on some of the categories also gets what
the same categories have in a paper's table per category.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FILE = Path(__file__).with_name("published.json")
_NAMES = {"mvtec_ad": "mvtec", "visa": "visa"}  # what a part of a benchmark has in its name


@dataclass(frozen=True)
class Published:
    """One method's numbers in percent: {shots: {metric: number}}, of everything and, where known, per category. what:
    which model on which images; source: where it is said."""

    method: str
    what: str
    source: str
    shots: Mapping[int, Mapping[str, float]]
    categories: Mapping[str, Mapping[int, Mapping[str, float]]]


@dataclass(frozen=True)
class Benchmark:
    """A dataset that others published numbers of; `categories`: all it has."""

    title: str
    categories: frozenset[str]
    rows: tuple[Published, ...]

    def of(self, measured: Mapping[str, Collection[str]]) -> tuple[Published, ...]:
        """The rows to stand beside results: all, and for a part of the benchmark first those that can be told of this
        part alone. measured: {metric: the categories that have it}."""
        names = {metric: [plain(name) for name in categories] for metric, categories in measured.items() if categories}
        if all(set(of_metric) == self.categories for of_metric in names.values()):
            return self.rows
        return (*(_part(row, names) for row in self.rows if row.categories), *self.rows)

    def extent(self, measured: Mapping[str, Collection[str]]) -> str:
        """ "4 of 15 categories (pixels: 3)"."""
        return _extent(measured, len(self.categories))


def benchmark_of(dataset: str, categories: Collection[str]) -> Benchmark | None:
    """The benchmark that a dataset is, or is a part of. Categories alone decide where they are all of a benchmark's;
    for a part of them the dataset's name must tell, since a bottle may be anybody's."""
    names = {plain(name) for name in categories}
    for key in _NAMES:
        stored = _stored(key)
        rows = tuple(_row(row) for row in stored["rows"])
        everything = frozenset(name for row in rows for name in row.categories)
        if names == everything or (names and names <= everything and _NAMES[key] in plain(dataset)):
            return Benchmark(stored["title"], everything, rows)
    return None


def published_answers(benchmark: str) -> tuple[str, list[dict]]:
    """(title, rows of {"method", "what", "source", "numbers": {score: value}}) of "visa_dr" or "mmad"."""
    stored = _stored(benchmark)
    return stored["title"], stored["rows"]


def _stored(key: str) -> dict:
    return json.loads(_FILE.read_text(encoding="utf-8"))[key]


def plain(name: str) -> str:
    """A category's name as the table has it: "Metal Nut" is metal_nut."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _row(stored: Mapping) -> Published:
    categories = {name: _by_number(shots) for name, shots in stored.get("categories", {}).items()}
    return Published(stored["method"], stored["what"], stored["source"], _by_number(stored["shots"]), categories)


def _by_number(shots: Mapping) -> dict[int, dict[str, float]]:
    return {int(k): metrics for k, metrics in shots.items()}


def _part(row: Published, names: Mapping[str, Collection[str]]) -> Published:
    """The mean over some of the categories, from the table per category."""
    shots = {
        k: {
            metric: round(float(np.mean([row.categories[name][k][metric] for name in names[metric]])), 6)
            for metric in metrics
            if metric in names
        }
        for k, metrics in row.shots.items()
    }
    what = f"{row.what.split(';')[0]}; the same {_extent(names, len(row.categories))}, mean of its numbers per category"
    return Published(row.method, what, row.source, shots, row.categories)


def _extent(names: Mapping[str, Collection[str]], of: int) -> str:
    most = max(map(len, names.values()), default=0)
    pixels = len(names.get("pixel_auroc", ()))
    return f"{most} of {of} categories" + (f" (pixels: {pixels})" if 0 < pixels < most else "")
