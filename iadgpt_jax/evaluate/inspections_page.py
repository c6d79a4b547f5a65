"""A batch of inspections as a page to look through and a table for a spreadsheet, most suspicious part first."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from iadgpt_jax.evaluate.charts import Bars, histogram
from iadgpt_jax.evaluate.page import environment
from iadgpt_jax.evaluate.table_files import no_formula
from iadgpt_jax.whole_file import write_whole

PAGE, TABLE = "index.html", "results.csv"
COLUMNS = ("query", "defective", "score", "margin", "answer", "explanation", "map", "overlay", "error")
SHOWN = 500  # parts on the page; the table has all
BARS_FROM = 5  # parts, for a histogram


def write_inspections(out: Path, records: Sequence[Mapping[str, Any]], about: Mapping[str, str], limit: float) -> None:
    """Write OUT/index.html and OUT/results.csv.

    records: what `iadgpt predict` wrote of each part, `error` instead of a verdict where it could not be inspected.
    about: facts for the page's foot. limit: the margin above which a part is rejected. Both files appear whole or not
    at all.
    """
    judged = sorted((one for one in records if "error" not in one), key=lambda one: -one["margin"])
    failed = [one for one in records if "error" in one]
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for one in (*judged, *failed):  # files are called, and models say, what they like
        rows.writerow({key: no_formula(cell) if isinstance(cell, str) else cell for key, cell in one.items()})
    write_whole(out / TABLE, text.getvalue())
    chart = None
    if len(judged) >= BARS_FROM:
        margins = Bars("parts", np.array([one["margin"] for one in judged]), "c2")
        chart = histogram([margins], x_label="margin; the dotted line is the threshold", mark=limit, bins=24)
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(one["query"])) for one in records]) if records else ""
    page = environment().get_template("inspections.html.jinja").render(
        parts=[
            dict(one, source=link(out, one["overlay"]), name=os.path.relpath(one["query"], folder))
            for one in judged[:SHOWN]
        ],
        failed=failed, chart=chart,
        count=len(judged), defective=sum(one["defective"] for one in judged), about=about, table=TABLE,
    )  # fmt: skip
    write_whole(out / PAGE, page)


def link(out: Path, file: str) -> str:
    """A file as a page in `out` refers to it."""
    return quote(os.fsencode(Path(os.path.relpath(file, out)).as_posix()))  # a name need not be UTF-8
