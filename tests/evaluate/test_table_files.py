"""Tables as CSV and LaTeX hold the same rows, whatever their names contain."""

import csv
import io
import re

import pytest

from iadgpt_jax.evaluate.table_files import Table, escape_latex, to_csv, to_latex, write_tables

HOSTILE = [
    "<script>alert(1)</script>", 'a,b "c"', "50% & $x_1^2$ #3 {y} ~z \\input{/etc/passwd}", "=cmd|' /C calc'!A0",
    "+1", "-1+1", "@SUM(A1)", "\tx", "[4pt]", "*", "two\nlines", "a--b", "größe ± 1", "\ud800", "",
]  # fmt: skip


def table(names=HOSTILE):
    rows = [[name, {"mean": 0.125 + i, "std": 0.001}, None if i == 1 else 0.5, name] for i, name in enumerate(names)]
    return Table("t", "caption & more", ["category", "image AUROC", "=n", "note"], rows)


def test_csv_reads_back_with_means_and_spreads_in_columns_of_their_own():
    lines = list(csv.reader(io.StringIO(to_csv(table()))))
    assert lines[0] == ["category", "image AUROC", "image AUROC std", "'=n", "note"]
    for i, (name, line) in enumerate(zip(HOSTILE, lines[1:], strict=True)):
        assert [line[0].removeprefix("'"), float(line[1]), float(line[2])] == [name, 0.125 + i, 0.001]
        assert line[3] == ("" if i == 1 else "0.5")


def test_a_spreadsheet_computes_nothing_of_a_name_and_every_number_stays_one():
    lines = list(csv.reader(io.StringIO(to_csv(Table("t", "", ["a", "b"], [[name, -1.5] for name in HOSTILE])))))[1:]
    assert all(line[0][:1] not in tuple("=+-@\t\r") or line[0] == "" for line in lines)
    assert all(line[1] == "-1.5" for line in lines)


def test_latex_has_a_cell_for_every_cell_and_no_command_of_a_names_own():
    tex = to_latex(table())
    body = tex.split("\\midrule\n")[1].split("\\bottomrule")[0].rstrip("\n")
    lines = body.split("\n")
    assert len(lines) == len(HOSTILE)
    for line in lines:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == 3
        bare = re.sub(r"\\text[a-z]+\{\}|\$\\pm\$|\$-\$|\\[&%$#_{}]|\{[\[*]\}|\{\}", "", line.removesuffix(r" \\"))
        assert not re.search(r"[\\%$#_{}^~<>|\"\[\]*]", bare.replace("]", "")), line
    assert r"\begin{tabular}{lrrl}" in tex and r"caption \& more" in tex and r"0.125 $\pm$ 0.001" in tex


@pytest.mark.parametrize(
    "text, escaped",
    [
        ("a_b", r"a\_b"),
        ("\\x", r"\textbackslash{}x"),
        ("a\nb\tc\x00d", "a b c d"),
        ("[x", "{[}x"),
        ("--- ", "-{}-{}-"),
        ("1–2", "1--2"),
    ],
)
def test_what_latex_would_read_as_something_else_is_escaped(text, escaped):
    assert escape_latex(text) == escaped


def test_nothing_measured_and_not_a_number_are_empty_or_a_dash(tmp_path):
    empty = Table("empty", "", ["a", "b", "c"], [["x", None, float("nan")]])
    assert to_csv(empty) == "a,b,c\nx,,\n"
    assert r"x & -- & -- \\" in to_latex(empty)
    write_tables(tmp_path / "tables", [empty])
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["empty.csv", "empty.tex"]
