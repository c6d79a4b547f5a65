"""A sweep's table: the paper's layout, mean ± std over seeds, its own rows beside, what is missing, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics

import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.collect import results
from iadgpt_jax.sweep.plot import draw
from iadgpt_jax.sweep.table import render_csv, render_latex, render_text
from tests.sweep import stub

VALUES = {"short": (0.81, 0.83, 0.85), "long": (0.90, 0.91, 0.92), "part": (0.915, 0.93, 0.91)}


@pytest.fixture
def made(tmp_path):
    """A plan whose evaluations have all been written, by hand."""
    made = stub.plan(tmp_path, tmp_path / "work", seeds=(0, 1, 2))
    for trial in made.trials:
        job = made.jobs[trial.evaluations["detection"]]
        for key in trial.jobs[:-1]:
            made.jobs[key].result.mkdir(parents=True, exist_ok=True)
        write(job, VALUES[trial.setting.name][trial.seed])
    return made


def write(job, value):
    job.folder.mkdir(parents=True)
    job.result.write_text(json.dumps({"shots": {"2": {"image_auroc": {"mean": value, "std": 0.3}}}}))


def evaluation(made, name, seed):
    (trial,) = [trial for trial in made.trials if trial.setting.name == name and trial.seed == seed]
    return made.jobs[trial.evaluations["detection"]]


def test_rows_are_mean_and_sample_deviation_over_seeds(made):
    found = results(made, {})
    for row in found["rows"]:
        metric = row["metrics"]["image_auroc"]
        assert row["seeds"] == [0, 1, 2]
        assert metric["mean"] == pytest.approx(statistics.fmean(VALUES[row["name"]]))
        assert metric["std"] == pytest.approx(statistics.stdev(VALUES[row["name"]]))
    assert found["failed"] == [] and json.loads(json.dumps(found)) == found


def test_the_paper_stands_beside_what_was_measured(made):
    lines = render_text(results(made, {})).splitlines()
    assert lines[0] == ("Stubs: measured on made_up, mean ± standard deviation over 3 seeds; paper: A paper, its data.")
    assert lines[2].split() == ["S2", "image", "AUROC", "paper", "image", "AUROC"]
    assert [line.split() for line in lines[4:7]] == [
        ["✗", "83.0", "±", "2.0", "88.5"],
        ["✓", "91.0", "±", "1.0", "92.4"],
        ["✓", "91.8", "±", "1.0", "92.2"],
    ]
    assert len({len(line) for line in (lines[1], *lines[3:8]) if "paper" not in line}) == 1  # aligned


def test_where_the_order_of_rows_differs_from_the_papers_is_said(made):
    """The paper has `long` above `part`; measured it is below, in two of three seeds."""
    found = results(made, {})
    (pair,) = found["order"]["image_auroc"]
    assert (pair["better"], pair["worse"], pair["seeds"]) == ("long", "part", [2, 3])
    assert "image AUROC: long is above part in the paper, by 0.2; here it is 0.8 below, in 2 of 3 seeds" in render_text(
        found
    )


def test_a_seed_that_is_missing_is_counted_and_named(made):
    missing = evaluation(made, "long", 1)
    missing.result.unlink()
    text = render_text(results(made, {missing.key: "exit status 1\nTraceback\nValueError: no"}))
    assert re.search(r"S2 +seeds +image AUROC", text) and re.search(r"✓ +2 of 3 +91.0 ± 1.4", text)
    said = f"no result: long seed 1, at {missing.key}: exit status 1\n    Traceback\n    ValueError: no"
    assert said in text
    for seed in (0, 2):
        evaluation(made, "long", seed).result.unlink()
    found = results(made, {})
    row = next(row for row in found["rows"] if row["name"] == "long")
    assert row["seeds"] == [] and row["metrics"] == {}
    assert re.search(r"✓ +0 of 3 +– +92.4", render_text(found)) and r"& 0 of 3 & -- & 92.4" in render_latex(found)
    assert [one["why"] for one in found["failed"]] == ["not run yet"] * 3


def test_a_single_seed_has_no_deviation(tmp_path):
    made = stub.plan(tmp_path, tmp_path / "work", seeds=(0,))
    for trial in made.trials:
        write(made.jobs[trial.evaluations["detection"]], 0.5)
    found = results(made, {})
    assert found["rows"][0]["metrics"]["image_auroc"]["std"] is None
    assert "±" not in render_text(found).split("\n", 1)[1]


def test_csv_has_every_number_in_full(made):
    evaluation(made, "short", 2).result.unlink()
    rows = list(csv.DictReader(io.StringIO(render_csv(results(made, {})))))
    assert [row["name"] for row in rows] == ["short", "long", "part"]
    assert float(rows[1]["image_auroc mean"]) == statistics.fmean(VALUES["long"])
    assert [rows[0][f"image_auroc seed {seed}"] for seed in range(3)] == ["0.81", "0.83", ""]
    assert rows[0]["image_auroc published"] == "88.5"


def test_latex_is_escaped_and_balanced(made):
    found = results(made, {})
    found["title"] = r"50% of A&B_c $x$ {y} #1 ~ ^ \ < >"
    tex = render_latex(found)
    assert r"50\% of A\&B\_c \$x\$ \{y\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{}" in tex
    assert r"$\checkmark$ & 91.0 $\pm$ 1.0 & 92.4 \\" in tex
    assert tex.count(r"\begin{") == tex.count(r"\end{")
    body = tex.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert not re.search(r"[^\x00-\x7f]", body)
    assert {line.count("&") for line in body.strip().splitlines()} == {2}


def test_the_plot_is_the_same_for_the_same_numbers(made, tmp_path):
    found = results(made, {})
    draw(found, tmp_path / "one.svg", tmp_path / "one.png")
    draw(found, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_text() == (tmp_path / "two.svg").read_text()
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    found["rows"][1]["metrics"] = {}
    found["source"] = ""
    for row in found["rows"]:
        row["published"] = {}
    draw(found, tmp_path / "partly.svg")


def test_damaged_metrics_are_one_line(made):
    evaluation(made, "short", 0).result.write_text('{"shots": ')
    with pytest.raises(InputError, match="metrics.json is damaged .* delete .* and run the sweep again"):
        results(made, {})
