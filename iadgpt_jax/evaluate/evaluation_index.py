"""The page above several evaluation directories: a line per dataset, ratio and number of references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from iadgpt_jax.evaluate.evaluation_tables import measured, named
from iadgpt_jax.evaluate.page import environment
from iadgpt_jax.evaluate.report_words import name_of, read_json
from iadgpt_jax.evaluate.table import as_shown, by_shots
from iadgpt_jax.evaluate.table_files import Cell, Table, write_tables
from iadgpt_jax.whole_file import write_whole


def write_index(out: str | Path, directories: Sequence[str | Path]) -> Path:
    """Write OUT/index.html, a line per evaluation directory and number of references with a link to its report, and
    the same table as OUT/tables/summary.csv and .tex. Directories lie beneath OUT.

    Raises InputError where a metrics.json is missing or damaged.
    """
    out = Path(out)
    found = [(Path(one).relative_to(out), as_shown(read_json(Path(one) / "metrics.json"))) for one in directories]
    metrics = measured(
        {str(n): row for n, (_, one) in enumerate(found) for row in (_together(one.get("shots") or {}),)}
    )
    rows, lines = [], []
    for place, one in found:
        name, ratio, shots = name_of(one), one.get("ratio"), one.get("shots") or {}
        for k in by_shots(shots):
            cells: list[Cell] = [shots[k].get(metric) for metric in metrics]
            rows.append([name, "" if ratio is None else f"{ratio:g}", f"{k}-shot", *cells])
            first = k == by_shots(shots)[0]
            lines.append({"link": quote(f"{place.as_posix()}/report.html") if first else "", "cells": rows[-1]})
    heads = ["dataset", "tokens kept", "references", *map(named, metrics)]
    caption = "Mean over categories, ± the standard deviation over draws of the references."
    table = Table("summary", caption, heads, rows)
    write_tables(out / "tables", [table])
    page = environment().get_template("index.html.jinja").render(table=table, lines=lines, count=len(found))
    write_whole(out / "index.html", page)
    return out / "index.html"


def _together(shots: Mapping) -> dict:
    """What any number of references has, for the columns of a table."""
    return {metric: one for of_shots in shots.values() for metric, one in of_shots.items()}
