"""The report of an evaluation says what was measured, loads nothing, escapes everything, and stays small."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate import evaluation_report, transcripts
from iadgpt_jax.evaluate.cases import SHOWN
from iadgpt_jax.evaluate.evaluation_index import write_index
from iadgpt_jax.evaluate.evaluation_report import MAX_BYTES, write_evaluation_report
from iadgpt_jax.evaluate.report_curves import PANELS
from tests.evaluate.evaluation_directory import SHOTS, draw_file, query_file, write_evaluation
from tests.evaluate.html_page import Page

EVIL = '<script>alert("x")</script>&'


def answers(count, **fields):
    one = {"question": "Is there a defect?", "options": ["A: Yes.", "B: No."], "answer": "A", "truth": "B"}
    lines = [{"image": f"nut/test/{n:03d}", **one, "correct": False, "sbert": 0.5} for n in range(count)]
    return "".join(json.dumps(line | fields) + "\n" for line in lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(directory, page) of an evaluation with everything."""
    out = tmp_path_factory.mktemp("evaluation")
    undefined = {"wood": {"pixel_aupro": "no pixel is defective"}}
    source = write_evaluation(out, dataset="data/mvtec_part", categories=("bottle", "wood"), undefined=undefined)
    (out / "answers.jsonl").write_text(answers(3))
    return out, Page.of(write_evaluation_report(out, source))


def test_it_is_one_file_that_loads_nothing(made):
    out, page = made
    for name, value in page.attributes:
        if name in ("src", "href", "srcset", "data", "action", "poster"):
            assert value.startswith("data:image/")
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert not re.search(r"https?:|@import|url\(|\{\{|\{%", page.source)
    assert {path.name for path in out.iterdir()} == {
        "answers.jsonl", "metrics.json", "protocol.json", "raw", "report.html", "tables",
    }  # fmt: skip


def test_no_table_is_wider_than_the_screen_for_each_scrolls_in_a_box_of_its_own(made):
    _, page = made
    assert page.tags.count("table") == page.source.count('<div class="scroll"') >= 5
    assert len(re.findall(r'<div class="scroll"[^>]*><table', page.source)) == page.tags.count("table")
    assert 'content="width=device-width, initial-scale=1"' in page.source


def test_it_shows_every_number_of_the_headline_and_of_the_categories(made):
    out, page = made
    shots = json.loads((out / "metrics.json").read_text())["shots"]
    for of_shots in shots.values():
        for metric in ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc"):
            value = of_shots[metric]
            assert f"{value['mean']:.3f} ± {value['std']:.3f}" in page.text
            for category in of_shots["per_category"].values():
                assert f"{category[metric]:.3f}" in page.text


def test_published_numbers_stand_beside_with_what_they_are_of_and_their_source(made):
    _, page = made
    for words in ("IADGPT", "Qwen2.5-VL-7B", "arXiv 2508.10681", "2 of 15 categories", "SubspaceAD", "ANoCo"):
        assert words in page.text
    assert "98.0" in page.text  # IADGPT's 1-shot image AUROC on bottle and wood: (98.8 + 97.2) / 2


def test_curves_histograms_cards_transcripts_and_what_was_not_measured(made):
    _, page = made
    for words in ("Images: ROC", "Images: precision and recall", "Pixels: ROC", "Scores of good and defective",
                  "Best", "Worst", "Borderline", "Is there a defect?", "A: Yes.", "no pixel is defective",
                  "bottle/train/10"):  # fmt: skip
        assert words in page.text, words
    assert page.tags.count("svg") == 5 + 2 * 2  # four curves and the scores; two for each category
    assert page.tags.count("article") > 3 * 2
    assert all(value for name, value in page.attributes if name == "alt")


def test_tables_are_written_as_csv_and_latex_and_hold_the_numbers(made):
    out, _ = made
    names = ("categories", "headline", "published", "published_categories")
    assert sorted(path.name for path in (out / "tables").iterdir()) == sorted(
        f"{name}.{end}" for name in names for end in ("csv", "tex")
    )
    shots = json.loads((out / "metrics.json").read_text())["shots"]
    with open(out / "tables" / "headline.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["image AUROC"]) for line in lines] == [shots[str(k)]["image_auroc"]["mean"] for k in SHOTS]
    assert [float(line["image AUROC std"]) for line in lines] == [shots[str(k)]["image_auroc"]["std"] for k in SHOTS]
    with open(out / "tables" / "categories.csv", newline="") as file:
        lines = {line["category"]: line for line in csv.DictReader(file)}
    for name, metrics in shots["4"]["per_category"].items():
        assert float(lines[name]["image AP, 4-shot"]) == metrics["image_ap"]


def test_hostile_names_are_only_names(tmp_path):
    out = tmp_path / "out"
    names = (EVIL, r"50% \input{x} $a_1$", "=HYPERLINK(1)", "../../up", "a, b")
    told = " ".join(names)
    source = write_evaluation(
        out, names, dataset=told.replace("/", ""), checkpoint=told, draws=1, undefined={told: {told: told}}
    )
    (out / "answers.jsonl").write_text(answers(2, image=told, question=told, answer=told, truth=told, task=told))
    page = Page.of(write_evaluation_report(out, source))
    assert "script" not in page.tags and told in page.text
    with open(out / "tables" / "categories.csv", newline="") as file:
        firsts = [line[0] for line in csv.reader(file)][1:]
    assert firsts == [name if name[0] != "=" else f"'{name}" for name in names]
    assert "\\input" not in (out / "tables" / "categories.tex").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing was written elsewhere


def test_without_the_dataset_the_cards_say_so_and_without_a_benchmark_nothing_stands_beside(made, tmp_path):
    """Bottles and wood, but not of MVTec-AD."""
    write_evaluation(tmp_path, categories=("bottle", "wood"), draws=1)
    page = Page.of(write_evaluation_report(tmp_path))
    assert "The dataset was not at hand" in page.text and "not at hand" not in made[1].text
    assert page.tags.count("svg") == made[1].tags.count("svg") and "heat map" in page.text
    assert "IADGPT" not in page.text and not list((tmp_path / "tables").glob("published*"))


def test_numbers_alone_are_enough_and_what_makes_them_no_result_comes_first(tmp_path):
    write_evaluation(tmp_path, references="wrong", trained_on={"nut": "stage 2"}, draws=1)
    (tmp_path / "protocol.json").unlink()
    page = Page.of(write_evaluation_report(tmp_path))
    assert "Where it looked" not in page.text and "svg" not in page.tags
    for warning in ("A control, not a result", "Not few-shot results: the model was trained on nut"):
        assert page.text.index(warning) < page.text.index("Results ")


def test_queries_of_one_kind_have_no_curves_and_do_no_harm(tmp_path):
    source = write_evaluation(tmp_path, draws=1)
    stored = dict(np.load(query_file(tmp_path, "nut")))
    np.savez_compressed(query_file(tmp_path, "nut"), **(stored | {"labels": np.zeros_like(stored["labels"])}))
    stored = dict(np.load(draw_file(tmp_path, 0, "wood")))
    stored["maps"][:, 0] = np.nan
    stored["margins"][:, 0] = np.inf
    np.savez_compressed(draw_file(tmp_path, 0, "wood"), **stored)
    assert "Curves" in Page.of(write_evaluation_report(tmp_path, source)).text


def test_the_page_does_not_grow_with_the_number_of_queries_nor_do_the_photographs_read(tmp_path):
    """Four times the queries, and a page of the same size: all galleries are full both times."""
    sizes = []
    for n in (40, 160):
        out = tmp_path / str(n)
        source = write_evaluation(out, ("nut",), good=n, defective=n, draws=1, side=16, apart=0.7)
        (out / "answers.jsonl").write_text(answers(n))
        sizes.append(write_evaluation_report(out, source).stat().st_size)
        assert len(source.read) == 3 * SHOWN * (1 + max(SHOTS)) + transcripts.SHOWN
    assert 0.9 * sizes[0] < sizes[1] < 1.1 * sizes[0] < MAX_BYTES


def test_pictures_shrink_before_the_page_grows_too_large(tmp_path, monkeypatch):
    source = write_evaluation(tmp_path, ("nut",), good=4, defective=4, draws=1, side=96)
    large = write_evaluation_report(tmp_path, source).stat().st_size
    monkeypatch.setattr(evaluation_report, "MAX_BYTES", large // 2)
    assert write_evaluation_report(tmp_path, source).stat().st_size <= large // 2
    monkeypatch.setattr(evaluation_report, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="over 10000"):
        write_evaluation_report(tmp_path, source)
    assert (tmp_path / "report.html").stat().st_size <= large // 2  # the one before stays


def test_a_thousand_categories_are_in_the_files_and_the_first_of_them_on_the_page(tmp_path):
    write_evaluation(tmp_path, draws=1)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for of_shots in metrics["shots"].values():
        of_shots["per_category"] = {f"c{n}": {"image_auroc": n / 1000} for n in range(1000)}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = write_evaluation_report(tmp_path)
    assert page.stat().st_size < MAX_BYTES and "850 more in tables/categories.csv" in Page.of(page).text
    assert len((tmp_path / "tables" / "categories.csv").read_text().splitlines()) == 1001
    assert PANELS < 1000


@pytest.mark.parametrize("line", ["{", "[1]"])
def test_a_broken_line_of_answers_is_named(tmp_path, line):
    write_evaluation(tmp_path, draws=1)
    (tmp_path / "answers.jsonl").write_text(answers(1) + line + "\n")
    with pytest.raises(InputError, match="answers.jsonl, line 2 is not"):
        write_evaluation_report(tmp_path)


def test_a_folder_without_results_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot read .*metrics.json"):
        write_evaluation_report(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        write_evaluation_report(tmp_path)


def test_long_answers_are_cut_and_scores_read_as_words(tmp_path):
    text = answers(1, answer="x" * 5000, options={"A": "Yes", "B": "No"})
    (tmp_path / "answers.jsonl").write_text("\n" + text)
    found, total = transcripts.read_transcripts(tmp_path)
    assert total == 1 and found[0].answer.endswith("… (3,800 more characters)")
    assert found[0].options == ("A: Yes", "B: No") and found[0].scores == (("answer", "wrong"), ("SBERT", "0.5"))
    assert transcripts.read_transcripts(tmp_path / "absent") == ([], 0)


def test_the_index_links_every_report_and_has_its_numbers(tmp_path):
    places = [tmp_path / "a b", tmp_path / "visa" / "ratio-0.2"]
    write_evaluation(places[0], draws=1, dataset=EVIL.replace("/", ""))
    write_evaluation(places[1], draws=1, ratio=0.2)
    page = Page.of(write_index(tmp_path, places))
    links = [value for name, value in page.attributes if name == "href"]
    assert links == ["a%20b/report.html", "visa/ratio-0.2/report.html"]
    assert "script" not in page.tags and "0.2" in page.text
    with open(tmp_path / "tables" / "summary.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(SHOTS) and (tmp_path / "tables" / "summary.tex").is_file()
    first = json.loads((places[0] / "metrics.json").read_text())["shots"]["1"]["image_auroc"]["mean"]
    assert float(lines[0]["image AUROC"]) == first and f"{first:.3f}" in page.text


def test_a_benchmark_of_answers_has_its_scores_beside_published_ones_and_transcripts(tmp_path):
    category = {"accuracy": 0.5, "precision": None, "recall": 0.25, "f1": 0.4}
    metrics = {
        "benchmark": "visa_dr", "dataset": "data/visa_dr", "questions": 30, "images": 10,
        "detection": {"accuracy": 0.61, "per_category": {"pcb1": category}},
        "reasoning": {"sbert": 0.42, "gpt_score": None, "per_category": {"pcb1": {"sbert": 0.43}}},
        "undefined": {"reasoning.gpt_score": "no judge"},
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "answers.jsonl").write_text(answers(12, task="reasoning"))
    text = Page.of(write_evaluation_report(tmp_path)).text
    for words in ("0.610", "0.420", "6.510", "arXiv 2508.10681, Table 2", "no judge", "In its own words", "0.430"):
        assert words in text, words


def test_mmad_has_its_tasks_in_the_order_they_come(tmp_path):
    tasks = {"Anomaly Detection": {"accuracy": 0.5}, "Object Analysis": {"accuracy": None}}
    metrics = {
        "benchmark": "mmad", "dataset": "mmad", "score": 0.5,
        "per_task": {"Anomaly Detection": 0.5, "Object Analysis": None},
        "per_dataset": {"VisA": {"score": 0.5, "tasks": tasks}}, "undefined": {},
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    text = Page.of(write_evaluation_report(tmp_path)).text
    assert "method Anomaly Detection Object Analysis average this checkpoint" in text and "0.823" in text
    assert "VisA 0.500 – 0.500" in text


def test_references_by_viewpoint_go_to_the_queries_from_there(tmp_path):
    source = write_evaluation(tmp_path, ("nut",), draws=1)
    source.records = [replace(record, viewpoint="top") for record in source.records]
    protocol = json.loads((tmp_path / "protocol.json").read_text())
    keys = protocol["draws"][0]["nut"]
    protocol["draws"][0]["nut"] = {"side": ["nowhere"] * 4, "top": keys}
    (tmp_path / "protocol.json").write_text(json.dumps(protocol))
    page = Page.of(write_evaluation_report(tmp_path, source))
    assert set(keys) <= set(source.read) and "nut, side" in page.text


def test_what_images_are_ranked_by_is_what_the_page_shows(tmp_path):
    """Ranked by the map's maximum there is no probability to show, and the curves are of that score."""
    source = write_evaluation(tmp_path, ("nut",), draws=1, image_score="map", smoothing=1.0)
    text = Page.of(write_evaluation_report(tmp_path, source)).text
    assert "maximum of the map" in text and "margin" not in text and "probability" not in text
