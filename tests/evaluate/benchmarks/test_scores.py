"""Hand-written answers of known worth get the scores that they should have, without a model."""

from __future__ import annotations

import importlib.util
import json

import pytest

from iadgpt_jax.endpoint.asking import Patience
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks import mmad, visa_dr
from iadgpt_jax.evaluate.benchmarks.answers import ANSWERS_FILE, rows_of
from iadgpt_jax.evaluate.benchmarks.dataset import open_benchmark
from iadgpt_jax.evaluate.benchmarks.judge import Judge
from iadgpt_jax.evaluate.benchmarks.options import Options
from iadgpt_jax.evaluate.benchmarks.run import evaluate_benchmark, score_again
from tests.corpus.server import running
from tests.evaluate.benchmarks import trees
from tests.evaluate.benchmarks.judge_server import JudgeServer
from tests.evaluate.benchmarks.test_similarity import needs_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    trees.draw_mmad(folder / "mmad")
    trees.draw_visa_dr(folder / "visa_dr")
    return folder


def rows(folder, name):
    source = open_benchmark(folder / name, name)
    cases = visa_dr.cases(source, ()) if name == "visa_dr" else mmad.cases(source, (), "none", False)
    return [row for case in cases for row in rows_of(case)]


def scored(folder, out, name, answer, options=Options(), leave_out=lambda row: False):  # noqa: B008
    """metrics.json and rows of answers.jsonl for `answer(row)`."""
    out.mkdir(exist_ok=True)
    told = [{"id": row["id"], "answer": answer(row)} for row in rows(folder, name) if not leave_out(row)]
    (out / "given.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))
    made = evaluate_benchmark(name, str(folder / name), out / "scored", options, answers=out / "given.jsonl")
    assert made == json.loads((out / "scored/metrics.json").read_text())
    return made, [json.loads(line) for line in (out / "scored" / ANSWERS_FILE).read_text().splitlines()]


# ---- MMAD ----


def test_mmad_s_mean_is_over_tasks_then_datasets_and_balances_detection(folder, tmp_path):
    """DS-MVTec: detection right on defective (2 of 2) and wrong on good (0 of 1) is .5, not 2/3; classification 1 of 2;
    the rest right. VisA: everything right."""

    def answer(row):
        wrong = row["dataset"] == "DS-MVTec" and (
            (row["task"] == mmad.ANOMALY and not row["defective"]) or row["id"] == "DS-MVTec/bottle/test/bad/000.png#2"
        )
        return "A" if wrong else "Answer: B."

    made, told = scored(folder, tmp_path, "mmad", answer)
    first, second = made["per_dataset"]["DS-MVTec"], made["per_dataset"]["VisA"]
    assert first["tasks"][mmad.ANOMALY] == {
        "accuracy": 0.5, "normal": 0.0, "defective": 1.0, "count": 3, "unreadable": 0,
    }  # fmt: skip
    assert first["tasks"]["Defect Classification"]["accuracy"] == 0.5
    assert first["tasks"]["Object Classification"] == {"accuracy": 1.0, "count": 3, "unreadable": 0}
    assert first["score"] == pytest.approx(6 / 7) and second["score"] == 1
    assert made["score"] == pytest.approx((6 / 7 + 1) / 2) == pytest.approx(made["published_reading"]["score"])
    assert made["per_task"][mmad.ANOMALY] == 0.75 and list(made["per_task"]) == list(mmad.TASKS)
    assert made["undefined"] == {} and made["unreadable"] == made["unanswered"] == 0 and made["count"] == 32
    assert sum(row["correct"] for row in told) == 30 and {row["read"] for row in told} == {"A", "B"}


def test_an_unreadable_answer_is_wrong_and_counted_and_the_published_reading_guesses(folder, tmp_path):
    made, told = scored(folder, tmp_path, "mmad", lambda row: "I cannot tell. Second things?")
    assert made["score"] == 0 and made["unreadable"] == 32 and all(row["read"] is None for row in told)
    assert made["per_dataset"]["VisA"]["tasks"][mmad.ANOMALY]["unreadable"] == 3
    assert made["published_reading"]["score"] == 1, "the nearest option's text is B's"


def test_what_was_not_answered_is_wrong_and_counted(folder, tmp_path):
    good = "VisA/candle/test/good/000.png"
    made, _ = scored(folder, tmp_path, "mmad", lambda row: "B", leave_out=lambda row: row["image"] == good)
    assert made["unanswered"] == 2 and made["per_dataset"]["VisA"]["tasks"][mmad.ANOMALY]["accuracy"] == 0.5


def test_a_task_without_questions_is_left_out_of_the_mean_and_named(folder, tmp_path):
    source = json.loads((folder / "mmad/mmad.json").read_text())
    some = {key: value for key, value in source.items() if "/good/" not in key and key.startswith("VisA")}
    for value in some.values():
        value["conversation"] = value["conversation"][:2]
    other = trees.draw_mmad(tmp_path / "mmad")
    (other / "mmad.json").write_text(json.dumps(some))
    made, _ = scored(tmp_path, tmp_path, "mmad", lambda row: "B")
    assert made["score"] == 1 and made["per_dataset"]["VisA"]["tasks"][mmad.ANOMALY]["accuracy"] is None
    assert "none about defective" in made["undefined"]["VisA.Anomaly Detection"]
    assert made["undefined"]["VisA.Object Analysis"].startswith("no questions") and len(made["undefined"]) == 6


# ---- VisA-D&R ----


def test_detection_is_measured_by_category(folder, tmp_path):
    """candle: yes to everything; fryum: right, but for one answer that says nothing about a good part."""

    def answer(row):
        if row["task"] == "reasoning":
            return row["truth"]
        if row["category"] == "candle":
            return "'Yes'"
        return "Hm." if row["image"].endswith("000.JPG") else f"{row['truth']}, as far as I see."

    made, told = scored(folder, tmp_path, "visa_dr", answer)
    assert "Hm." in next(tmp_path.rglob("report.html")).read_text(), "transcripts are in the report"
    found = made["detection"]
    assert found["per_category"]["candle"] == {
        "count": 4, "accuracy": 0.5, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3),
    }  # fmt: skip
    assert found["per_category"]["fryum"]["accuracy"] == 0.75 and found["per_category"]["fryum"]["recall"] == 1
    assert found["accuracy"] == 0.625 and found["unreadable"] == 1 and found["count"] == 8
    assert found["published_reading"]["accuracy"] == 0.75, "what says no yes is a no there"
    assert [row["read"] for row in told if row["task"] == "detection"].count(None) == 1


def test_a_reasoning_item_that_says_whether_its_part_is_defective_stays_one_of_reasoning(tmp_path):
    trees.draw_visa_dr(tmp_path / "visa_dr")
    tasks = [row["task"] for row in rows(tmp_path, "visa_dr")]
    (path,) = (tmp_path / "visa_dr").rglob("visa_dr.json")
    path.write_text(json.dumps([item | {"anomaly": True} for item in json.loads(path.read_text())]))
    assert [row["task"] for row in rows(tmp_path, "visa_dr")] == tasks


@pytest.mark.parametrize(
    ("answer", "defective"),
    [
        ("Yes", True),
        ("no", False),
        ("'Yes'.", True),
        ("**No**", False),
        ("Yes there are defects on the rim.", True),
        ("No there aren't any.", False),
        ("The answer is yes.", True),
        ("Answer: No", False),
        ("There is a scratch at the top left.", True),
        ("The object is intact.", False),
        ("There are no defects.", False),
        ("Nobody knows.", None),
        ("Yesterday it was fine.", None),
        ("", None),
    ],
)
def test_verdicts_are_read(answer, defective):
    assert visa_dr.read_verdict(answer) is defective


def test_what_is_undefined_is_named(folder, tmp_path):
    made, _ = scored(folder, tmp_path, "visa_dr", lambda row: "No.")
    assert made["detection"]["precision"] is None and made["detection"]["recall"] == 0
    assert made["undefined"]["detection.precision"] == "undefined in every category"
    assert "--judge" in made["undefined"]["reasoning.gpt_score"] and made["reasoning"]["gpt_score"] is None


@needs_weights
def test_sbert_is_one_for_the_published_answer_and_what_the_peer_finds_for_others(folder, tmp_path):
    """Of KNOWN in test_similarity: an empty answer to "It melted." is .185."""
    tree = trees.draw_visa_dr(tmp_path / "visa_dr")
    listed = json.loads((tree / "VisA/visa_dr.json").read_text())[:1]
    listed[0]["answers"] = ["It melted.", "It was too hot.", ""]
    (tree / "VisA/visa_dr.json").write_text(json.dumps(listed))
    made, told = scored(tmp_path, tmp_path, "visa_dr", lambda row: "" if row["turn"] == 1 else row["truth"])
    reasoning = made["reasoning"]
    assert reasoning["per_turn"]["1"]["sbert"] == pytest.approx(0.1849108, abs=5e-6)
    assert reasoning["per_turn"]["2"]["sbert"] == pytest.approx(1, abs=5e-6) and "3" not in reasoning["per_turn"]
    assert reasoning["sbert"] == pytest.approx((1 + 0.1849108) / 2, abs=5e-6)
    assert (reasoning["questions"], reasoning["count"], reasoning["without_published_answer"]) == (3, 2, 1)
    assert reasoning["empty"] == 2
    assert made["sbert_model"] == "all-MiniLM-L6-v2" and "sbert" not in told[-1]


def test_without_the_weights_everything_else_is_measured(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made, _ = scored(folder, tmp_path, "visa_dr", lambda row: row["truth"])
    assert made["detection"]["accuracy"] == 1 and made["reasoning"]["sbert"] is None
    assert "pip install --no-deps" in made["undefined"]["reasoning.sbert"]
    assert "SBERT similarity is not measured" in capsys.readouterr().err


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    grades = {"It is melted.": 10, "It was too hot.": 8, "Cool it.": 3}
    with running(JudgeServer(grades=grades, trouble={"Cool it.": "500", "It was too hot.": "prose"})) as server:
        yield server


def judging(server, **changes):
    return Options(judge=Judge(server.url, "toy", patience=Patience(3, 0.01), **changes))


def test_gpt_score_is_the_mean_grade_and_scoring_again_asks_nothing(folder, tmp_path, judge):
    made, told = scored(folder, tmp_path, "visa_dr", lambda row: row["truth"], judging(judge))
    assert made["reasoning"]["gpt_score"] == 7 and made["reasoning"]["per_turn"]["3"]["gpt_score"] == 3
    assert made["judge"]["model"] == "toy" and made["judge"]["prompts"] == "v1"
    assert made["judge"]["graded"] == 12 and made["judge"]["asked"] == 3, "the same answers are graded once"
    assert {row["judge"] for row in told if row["turn"] == 3} == {"it says Cool it."}
    asked = judge.asked.copy()
    again, _ = scored(folder, tmp_path, "visa_dr", lambda row: row["truth"], judging(judge))
    assert judge.asked == asked and again["reasoning"] == made["reasoning"]


def test_scoring_a_folder_again_needs_no_dataset_and_keeps_grades(folder, tmp_path, judge):
    made, told = scored(folder, tmp_path, "visa_dr", lambda row: row["truth"], judging(judge))
    asked = judge.asked.copy()
    assert score_again(tmp_path / "scored", Options()) == made and judge.asked == asked
    assert json.loads((tmp_path / "scored/metrics.json").read_text()) == made
    judge.grades = dict.fromkeys(judge.grades, 2.0)
    other = Options(judge=Judge(judge.url, "other", patience=Patience(3, 0.01)))
    again = score_again(tmp_path / "scored", other)
    assert again["reasoning"]["gpt_score"] == 2 and again["judge"]["model"] == "other"


@pytest.mark.parametrize("fault", ["no metrics", "no json", "a row that is not whole"])
def test_a_folder_that_cannot_be_scored_again_is_one_line(folder, tmp_path, fault):
    scored(folder, tmp_path, "mmad", lambda row: "B")
    out = tmp_path / "scored"
    if fault == "a row that is not whole":
        (out / ANSWERS_FILE).write_text('{"id": "a", "answer": "B"}\n')
    else:
        (out / "metrics.json").write_text("[]" if fault == "no json" else "{}")
    with pytest.raises(InputError, match="start the "):
        score_again(out, Options())


def test_a_judge_that_stops_leaves_all_other_numbers(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    with running(JudgeServer(status=(401, {"error": {"message": "no", "code": "no"}}))) as server:
        with pytest.raises(InputError, match="judging stopped: the endpoint refuses every question"):
            scored(folder, tmp_path, "visa_dr", lambda row: row["truth"], judging(server))
    made = json.loads((tmp_path / "scored/metrics.json").read_text())
    assert made["detection"]["accuracy"] == 1 and made["reasoning"]["gpt_score"] is None
    assert made["judge"]["broken"]["count"] == 12


# ---- Input ----


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "holds no answers"),
        ("{", "line 1: not JSON"),
        ("[1]", 'line 1: no object with the texts "id" and "answer"'),
        ('{"id": "a", "answer": 3}', 'no object with the texts "id" and "answer"'),
        ('{"id": "a", "answer": "B"}', "such as a; name the dataset"),
        ('{"id": "a", "answer": "B"}\n{"id": "a", "answer": "C"}', "line 2: a second answer to a"),
    ],
)
def test_answers_that_cannot_be_scored_are_one_line(folder, tmp_path, line, told):
    (tmp_path / "given.jsonl").write_text(line)
    with pytest.raises(InputError, match=told):
        evaluate_benchmark("mmad", str(folder / "mmad"), tmp_path / "out", Options(), answers=tmp_path / "given.jsonl")


def test_a_model_s_answers_are_never_replaced_by_others(folder, tmp_path):
    scored(folder, tmp_path, "mmad", lambda row: "B")
    (tmp_path / "scored/settings.json").write_text("{}")
    with pytest.raises(InputError, match="holds a model's answers"):
        scored(folder, tmp_path, "mmad", lambda row: "A")
    own = tmp_path / "scored" / ANSWERS_FILE
    evaluate_benchmark("mmad", str(folder / "mmad"), tmp_path / "scored", Options(), answers=own)
    assert json.loads((tmp_path / "scored/metrics.json").read_text())["score"] == 1
