"""The tables of an evaluation: the headline, its comparison with what others published, and category by category."""

from __future__ import annotations

from collections.abc import Mapping

from iadgpt_jax.evaluate.published import Benchmark
from iadgpt_jax.evaluate.table import by_shots
from iadgpt_jax.evaluate.table_files import Cell, Table

NAMES = {  # in the order of columns; what else was measured follows under its own name
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_aupro": "pixel AUPRO",
    "text_accuracy": "text accuracy",
}
COMPARED = ("image_auroc", "pixel_auroc")


def named(metric: str) -> str:
    """A metric as a column's head has it."""
    return NAMES.get(metric, metric.replace("_", " "))


def measured(shots: Mapping) -> list[str]:
    """The metrics that any number of references has, in the order of columns."""
    found = {metric: None for k in by_shots(shots) for metric, value in shots[k].items() if _is_number(value)}
    return [metric for metric in NAMES if metric in found] + [metric for metric in found if metric not in NAMES]


def headline(shots: Mapping, what: str) -> Table:
    """A row per number of references: every metric's mean ± std over draws. `what` was evaluated, for the caption."""
    metrics = measured(shots)
    rows: list[list[Cell]] = [[f"{k}-shot", *(shots[k].get(metric) for metric in metrics)] for k in by_shots(shots)]
    caption = f"{what}: mean over categories, ± the standard deviation over draws of the references."
    return Table("headline", caption, ["references", *map(named, metrics)], rows)


def comparison(shots: Mapping, benchmark: Benchmark, categories: list[str], queries: int) -> Table:
    """These results and published ones, in percent, for the numbers of references that both have."""
    having = {
        metric: [name for name in categories if any(metric in shots[k]["per_category"].get(name, {}) for k in shots)]
        for metric in COMPARED
    }
    rows = benchmark.of(having)
    both = [k for k in by_shots(shots) if any(int(k) in row.shots for row in rows)]
    columns = [(k, metric) for k in both for metric in COMPARED]
    own = [_percent(shots[k].get(metric)) for k, metric in columns]
    lines: list[list[Cell]] = [["this checkpoint", *own, f"{benchmark.extent(having)}, {queries:,} queries", ""]]
    for row in rows:
        cells = [row.shots.get(int(k), {}).get(metric) for k, metric in columns]
        if any(cell is not None for cell in cells):
            lines.append([row.method, *cells, row.what, row.source])
    heads = ["method", *(f"{k}-shot {named(metric)}" for k, metric in columns), "what", "source"]
    caption = f"{benchmark.title}, AUROC in percent: these results beside published ones."
    return Table("published", caption, heads, lines, digits=1)


def per_category(shots: Mapping, what: str) -> Table:
    """A row per category: every metric at every number of references, means over draws."""
    numbers = [k for k in by_shots(shots) if shots[k].get("per_category")]
    metrics = measured({k: _all_metrics(shots[k]["per_category"]) for k in numbers})
    names = dict.fromkeys(name for k in numbers for name in shots[k]["per_category"])
    rows: list[list[Cell]] = [
        [name, *(shots[k]["per_category"].get(name, {}).get(metric) for metric in metrics for k in numbers)]
        for name in names
    ]
    heads = ["category", *(f"{named(metric)}, {k}-shot" for metric in metrics for k in numbers)]
    return Table("categories", f"{what}: category by category, means over draws of the references.", heads, rows)


def published_categories(shots: Mapping, benchmark: Benchmark, plain: Mapping[str, str]) -> Table:
    """AUROC per category in percent beside what a paper has for it. plain: {category: its name there}."""
    paper = next(row for row in benchmark.rows if row.categories)
    numbers = [k for k in by_shots(shots) if int(k) in paper.shots and shots[k].get("per_category")]
    columns = [(k, metric) for metric in COMPARED for k in numbers]
    rows: list[list[Cell]] = []
    for name, there in plain.items():
        pairs = [
            (_percent(shots[k]["per_category"].get(name, {}).get(metric)), paper.categories[there][int(k)].get(metric))
            for k, metric in columns
        ]
        rows.append([name, *(cell for pair in pairs for cell in pair)])
    heads = ["category"]
    for k, metric in columns:
        heads += [f"{named(metric)}, {k}-shot", f"{paper.method} {named(metric)}, {k}-shot"]
    caption = f"{benchmark.title}, AUROC in percent per category, beside {paper.method} ({paper.what}; {paper.source})."
    return Table("published_categories", caption, heads, rows, digits=1)


def _all_metrics(categories: Mapping) -> dict:
    return {metric: value for metrics in categories.values() for metric, value in metrics.items()}


def _is_number(value) -> bool:
    if isinstance(value, Mapping):
        return {"mean", "std"} <= set(value) and isinstance(value["mean"], int | float)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _percent(value: Cell) -> Cell:
    if isinstance(value, Mapping):
        return {name: 100 * number for name, number in value.items()}
    return None if value is None else 100 * value
