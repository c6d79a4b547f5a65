"""launch/evaluate.py on both benchmarks with a small model: answers, scores, scores again, and one line per fault."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from iadgpt_jax.checkpoint.workdir import save_model, write_model_files
from iadgpt_jax.data.ancestry import INFO_KEY, training_entry
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.evaluate.benchmarks import mmad
from iadgpt_jax.evaluate.benchmarks.dataset import benchmark_of, open_benchmark
from iadgpt_jax.evaluate.benchmarks.wording import put
from iadgpt_jax.infer.inspector import Asked, Inspector
from launch import evaluate
from tests.evaluate.benchmarks import trees
from tests.small_iadgpt import lively_params, small_config

INFO = {"image_side": 84, "map_space": "probability"}

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and both benchmarks, MMAD also prepared."""
    folder = tmp_path_factory.mktemp("command")
    save_model(folder / "work", lively_params(small_config()), small_config(), tiny_tokenizer(), INFO)
    trees.draw_mmad(folder / "mmad")
    trees.draw_visa_dr(folder / "visa_dr")
    prepare(Request("mmad", folder / "mmad", folder / "prepared"), say=lambda line: None)
    return folder


def arguments(folder, name, *more):
    return [f"--checkpoint={folder / 'work'}", f"--dataset={folder / name}", f"--out={folder / 'out' / name}",
            "--max_new=3", "--at_once=2", *more]  # fmt: skip


def results(folder, name):
    out = folder / "out" / name
    rows = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    return json.loads((out / "metrics.json").read_text()), rows


@pytest.mark.slow
def test_a_prepared_mmad_is_answered_as_the_inspector_answers(folder, capsys):
    assert benchmark_of(folder / "prepared") == "mmad"
    evaluate.main(arguments(folder, "prepared", "--categories=candle"))
    metrics, rows = results(folder, "prepared")
    assert metrics["benchmark"] == "mmad" and metrics["settings"]["templates"] == "random" and metrics["step"] == 0
    assert metrics["count"] == len(rows) == 16 and list(metrics["per_dataset"]) == ["VisA"]
    assert 0 <= metrics["score"] <= 1 and "MMAD: " in capsys.readouterr().out
    inspector, source = Inspector.load(folder / "work"), open_benchmark(folder / "mmad", "mmad")
    image = {key: source[index].image for index, key in enumerate(source.keys)}
    row = rows[3]
    assert row["references"] == ["VisA/candle/train/good/001.png"]
    (case, turn) = next(
        (case, turn) for case in mmad.cases(source, ("candle",), "random", False)
        for turn, one in enumerate(case.questions) if one.id == row["id"]
    )  # fmt: skip
    asked = put("mmad", "squares", case, turn, [], image[row["image"]], [image[row["references"][0]]])
    assert isinstance(asked, Asked)
    assert inspector.ask(asked.question, asked.query, asked.references, max_new=3) == row["answer"]


@pytest.mark.slow
def test_visa_dr_is_answered_in_chats_and_scored_again_without_a_model(folder, monkeypatch):
    asked = ["--layout=chat", "--categories=candle"]
    evaluate.main(arguments(folder, "visa_dr", *asked))
    metrics, rows = results(folder, "visa_dr")
    assert metrics["detection"]["count"] == 4 and metrics["reasoning"]["questions"] == 6
    assert len(rows) == 10 and metrics["settings"]["layout"] == "chat"
    monkeypatch.setattr(Inspector, "answer_many", None)
    answers = folder / "out/visa_dr/answers.jsonl"
    evaluate.main([f"--dataset={folder / 'visa_dr'}", "--categories=candle", f"--answers={answers}",
                   f"--out={folder / 'again'}"])  # fmt: skip
    again = json.loads((folder / "again/metrics.json").read_text())
    assert all(again[name] == metrics[name] for name in ("detection", "reasoning", "undefined", "cut_off"))
    evaluate.main(arguments(folder, "visa_dr", *asked))  # everything is answered
    assert results(folder, "visa_dr")[0] == metrics
    evaluate.main([f"--from={folder / 'out/visa_dr'}"])
    assert results(folder, "visa_dr")[0] == metrics


def begun(folder, name):
    """An --out that was begun with other settings."""
    out = folder / "out" / name
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text('{"layout": "chat"}')
    return out


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("mmad", ["--layout=squares"], "was begun with another layout (chat instead of squares)"),
        ("mmad", ["--judge=http://127.0.0.1:9/v1", "--judge_model=m"], "MMAD's answers are letters"),
        ("visa_dr", ["--judge=http://127.0.0.1:9/v1"], "--judge needs --judge_model"),
        ("visa_dr", ["--judge_model=m"], "--judge_model needs --judge"),
        ("visa_dr", ["--judge=openai", "--judge_model=m", "--judge_key=NOT_SET"], "NOT_SET is not set"),
        ("visa_dr", ["--judge=openai", "--judge_model=m", "--judge_prices=1"], "--judge_prices=1"),
        ("visa_dr", ["--categories=pcb2,gear"], "no category gear in visa_dr; it has candle, fryum, pcb2"),
        ("visa_dr", ["--checkpoint=nowhere"], "no checkpoint at nowhere"),
        ("visa_dr", ["--checkpoint=", "--answers=nowhere.jsonl"], "cannot read answers from nowhere.jsonl"),
        ("visa_dr", ["--answers=nowhere.jsonl"], "give --checkpoint, a model to answer, or --answers"),
        ("visa_dr", ["--at_once=0"], "--max_new and --at_once"),
        ("visa_dr", ["--shots=1"], "--shots is for detection, and"),
        ("mmad", ["--image_score=answer"], "--image_score is for detection, and"),
        ("visa_dr", ["--templates=similar"], "--templates is for MMAD, and"),
        ("work", ["--conversation=single"], "--conversation is for VisA-D&R and MMAD"),
        ("work", ["--answers=a.jsonl"], "--answers is for VisA-D&R and MMAD"),
        ("work", ["--judge=openai", "--judge_model=m"], "--judge is for VisA-D&R and MMAD"),
    ],
)
def test_wrong_input_ends_with_one_line(folder, capsys, name, change, told, tmp_path):
    begun(tmp_path, "mmad")
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments(folder, name, f"--out={tmp_path / 'out' / name}", *change))
    lines = [line for line in capsys.readouterr().err.splitlines() if "questions about" not in line]
    errors = [line for line in lines if not line.startswith("note: ")]
    assert stopped.value.code == 2 and len(errors) == 1
    assert errors[0].startswith("error: ") and told in errors[0]


def test_what_a_stage_was_trained_on_is_refused_before_weights_are_loaded(folder, tmp_path, capsys):
    shutil.copytree(folder / "work", tmp_path / "trained")
    entry = training_entry(2, open_benchmark(folder / "visa_dr", "visa_dr"), ["fryum"])
    write_model_files(
        tmp_path / "trained", small_config(), tiny_tokenizer(), INFO | {"stage": 3, INFO_KEY: [entry]}
    )  # fmt: skip
    with pytest.raises(SystemExit):
        evaluate.main(arguments(folder, "visa_dr", f"--checkpoint={tmp_path / 'trained'}", f"--out={tmp_path / 'out'}"))
    error = capsys.readouterr().err.splitlines()[-1]
    assert "was trained on" in error and "fryum (stage 2)" in error and "--allow_trained" in error


def test_a_published_tree_and_a_prepared_one_hold_the_same(folder):
    published, ready = open_benchmark(folder / "mmad", "mmad"), open_benchmark(folder / "prepared", "mmad")
    places = {key: index for index, key in enumerate(ready.keys)}
    assert sorted(places) == sorted(published.keys)
    for index, key in enumerate(published.keys):
        other = places[key]
        assert published.records[index] == ready.records[other]
        assert published.conversation(index) == ready.conversation(other)
        np.testing.assert_array_equal(published[index].image, ready[other].image)
