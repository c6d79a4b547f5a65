"""A sweep's table in the paper's layout: marks, what was measured, and beside it the paper's own rows. As plain text,
CSV and LaTeX; all from the contents of results.json (collect.results).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from iadgpt_jax.latex import escape_latex
from iadgpt_jax.sweep.collect import columns_of
from iadgpt_jax.sweep.spec import Column

MISSING = "–"


def measured(row: Mapping, column: Column) -> str:
    """ "92.4 ± 0.3", "92.4" of a single seed, or a dash."""
    metric = row["metrics"].get(column.name)
    if metric is None:
        return MISSING
    mean = f"{metric['mean'] * column.scale:.{column.digits}f}"
    return mean if metric["std"] is None else f"{mean} ± {metric['std'] * column.scale:.{column.digits}f}"


def published(row: Mapping, column: Column) -> str:
    """The paper's number as it prints it, or a dash."""
    value = row["published"].get(column.name)
    return MISSING if value is None else f"{value:.{column.digits}f}"


def published_columns(found: Mapping) -> list[Column]:
    """The columns that the paper has a number of in some row."""
    return [column for column in columns_of(found) if any(column.name in row["published"] for row in found["rows"])]


def cells(found: Mapping) -> tuple[list[str], list[list[str]]]:
    """(heads, rows of cells): marks, how many seeds where some are missing, measured and published numbers."""
    theirs = published_columns(found)
    names = (column.head for column in columns_of(found))
    heads = [*mark_heads(found), *names, *(f"paper {one.head}" for one in theirs)]
    rows = []
    for row in found["rows"]:
        seeds = [f"{len(row['seeds'])} of {len(found['seeds'])}"] if incomplete(found) else []
        ours = [measured(row, column) for column in columns_of(found)]
        rows.append([*row["marks"].values(), *seeds, *ours, *(published(row, column) for column in theirs)])
    return heads, rows


def mark_heads(found: Mapping) -> list[str]:
    """The heads of what stands in front of the numbers."""
    return [*found["heads"], *(["seeds"] if incomplete(found) else [])]


def incomplete(found: Mapping) -> bool:
    return any(len(row["seeds"]) < len(found["seeds"]) for row in found["rows"])


def caption(found: Mapping) -> str:
    """One sentence on what the numbers are."""
    seeds = len(found["seeds"])
    line = f"{found['title']}: measured on {', '.join(found['measured_on']) or 'nothing'}, "
    line += f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return line + (f"; paper: {found['source']}, {found['published_on']}." if found["source"] else ".")


def render_text(found: Mapping) -> str:
    """Aligned columns under a caption; then notes, where the order of rows is not the paper's, and what failed."""
    heads, rows = cells(found)
    widths = [max(len(line[i]) for line in (heads, *rows)) for i in range(len(heads))]
    marks = len(mark_heads(found))

    def set_line(line: Sequence[str]) -> str:
        parts = [word.ljust(width) if i < marks else word.rjust(width)
                 for i, (word, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        return "  ".join(parts).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [caption(found), rule, set_line(heads), rule, *map(set_line, rows), rule]
    return "\n".join([*lines, *found["notes"], *order_lines(found), *failed_lines(found)])


def order_lines(found: Mapping) -> list[str]:
    """Where the paper ranks two rows the other way round, a line each."""
    lines = []
    for column in columns_of(found):
        for pair in found["order"][column.name]:
            lower, of = pair["seeds"]
            lines.append(
                f"{column.head}: {pair['better']} is above {pair['worse']} in the paper, by "
                f"{pair['published']:.{column.digits}f}; here it is "
                f"{-pair['measured'] * column.scale:.{column.digits}f} below, in {lower} of {of} seeds"
            )
    return lines


def failed_lines(found: Mapping) -> list[str]:
    """What has no result, and why, a paragraph each."""
    lines = []
    for trial in found["failed"]:
        first, *rest = trial["why"].splitlines()
        lines.append(f"no result: {trial['name']} seed {trial['seed']}, at {trial['job']}: {first}")
        lines += [f"    {line}" for line in rest]
    return lines


def render_csv(found: Mapping) -> str:
    """One line for every setting; numbers in full, seeds in columns of their own, empty where there is none."""
    columns = columns_of(found)
    heads = ["name", *found["heads"]]
    for column in columns:
        seeds = [f"{column.name} seed {seed}" for seed in found["seeds"]]
        heads += [f"{column.name} mean", f"{column.name} std", *seeds, f"{column.name} published"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    for row in found["rows"]:
        line = [row["name"], *row["marks"].values()]
        for column in columns:
            metric = row["metrics"].get(column.name, {"mean": "", "std": "", "values": {}})
            std = "" if metric["std"] is None else metric["std"]
            values = [metric["values"].get(str(seed), "") for seed in found["seeds"]]
            line += [metric["mean"], std, *values, row["published"].get(column.name, "")]
        writer.writerow(line)
    return stream.getvalue()


def render_latex(found: Mapping) -> str:
    """A table environment; needs the packages booktabs and amssymb."""
    heads, rows = cells(found)
    marks, ours = len(mark_heads(found)), len(found["columns"])
    theirs = len(heads) - marks - ours
    layout = "l" * marks + "r" * (ours + theirs)
    over = f"\\multicolumn{{{marks}}}{{l}}{{}} & \\multicolumn{{{ours}}}{{c}}{{measured}}"
    if theirs:
        over += f" & \\multicolumn{{{theirs}}}{{c}}{{{escape_latex(found['source'])}}}"
    names = [*heads[: marks + ours], *(column.head for column in published_columns(found))]
    body = [" & ".join(map(escape_latex, line)) + r" \\" for line in rows]
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{layout}}}", r"\toprule", over + r" \\",
        " & ".join(map(escape_latex, names)) + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
        rf"\caption{{{escape_latex(caption(found))}}}", r"\end{table}", "",
    ])  # fmt: skip
