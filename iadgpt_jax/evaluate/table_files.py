"""Tables as files for other programs and for papers: the same rows as CSV and as LaTeX.

Names in a table are anybody's: a category may be called like a formula of a spreadsheet or a command of LaTeX. CSV
cells that a spreadsheet would compute get an apostrophe before them; LaTeX's characters are escaped.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iadgpt_jax.latex import escape_latex
from iadgpt_jax.whole_file import write_whole

Cell = str | float | Mapping[str, float] | None  # text, number, {"mean", "std"}, or nothing measured
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """name: of its files; heads: one per column; rows: cells, a text first; digits: decimals that people see. Where a
    column has spreads (mean and std) it has them in every row that is measured, or is a plain number there."""

    name: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    digits: int = 3

    def text(self, cell: Cell) -> str:
        """A cell as people read it: "0.931 ± 0.004", a dash for nothing."""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, Mapping):
            return f"{self.number(cell['mean'])} ± {self.number(cell['std'])}"
        return self.number(cell)

    def number(self, value: float | None) -> str:
        """With as many decimals as the table has; a dash for nothing."""
        return "–" if value is None or not math.isfinite(value) else f"{value:.{self.digits}f}"


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Write NAME.csv and NAME.tex of every table; each appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        write_whole(folder / f"{table.name}.csv", to_csv(table))
        write_whole(folder / f"{table.name}.tex", to_latex(table))


def to_csv(table: Table) -> str:
    """A line of heads, then the rows, all digits kept; a column with spreads becomes two, "NAME" and "NAME std"."""
    spread = [any(isinstance(row[i], Mapping) for row in table.rows) for i in range(len(table.heads))]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [[head, f"{head} std"] if wide else [head] for head, wide in zip(table.heads, spread, strict=True)]
    writer.writerow([_csv_cell(head) for pair in heads for head in pair])
    for row in table.rows:
        cells: list[Cell] = []
        for cell, wide in zip(row, spread, strict=True):
            several = (cell["mean"], cell["std"]) if isinstance(cell, Mapping) else (cell, None)
            cells += several if wide else several[:1]
        writer.writerow([_csv_cell(cell) for cell in cells])
    return stream.getvalue()


def to_latex(table: Table) -> str:
    r"""A `table` with `tabular` inside; needs \usepackage{booktabs}. Numbers as people see them."""
    numeric = [all(not isinstance(row[i], str) for row in table.rows) for i in range(len(table.heads))]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if one else 'l' for one in numeric)}}}",
        r"\toprule",
        " & ".join(escape_latex(head) for head in table.heads) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(escape_latex(table.text(cell)) for cell in row) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _csv_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return no_formula(cell)
    return "" if cell is None or not math.isfinite(cell) else repr(float(cell))


def no_formula(text: str) -> str:
    """A text for a cell of a table; one that a spreadsheet would compute is made a quoted one."""
    return f"'{text}" if text.startswith(_FORMULA) else text
