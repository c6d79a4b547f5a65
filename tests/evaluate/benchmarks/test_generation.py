"""Every question is asked once, as published, in batches; stopped anywhere, the answers end with the same bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks import mmad, visa_dr
from iadgpt_jax.evaluate.benchmarks.answers import ANSWERS_FILE
from iadgpt_jax.evaluate.benchmarks.dataset import benchmark_of, open_benchmark
from iadgpt_jax.evaluate.benchmarks.generation import Setting, answer_cases
from iadgpt_jax.infer.inspector import Asked
from tests.evaluate.benchmarks import trees


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    trees.draw_mmad(folder / "mmad")
    trees.draw_visa_dr(folder / "visa_dr")
    return folder


def cases_of(folder, name, templates="random", sequential=False):
    source = open_benchmark(folder / name, name)
    if name == "visa_dr":
        return source, visa_dr.cases(source, ())
    return source, mmad.cases(source, (), templates, sequential)


def answered(out, parrot, source, cases, name, layout="squares", max_new=10**6, at_once=4):
    out.mkdir(exist_ok=True)
    answer_cases(parrot, source, cases, Setting(name, layout, max_new, at_once), out)
    return [json.loads(line) for line in (out / ANSWERS_FILE).read_text().splitlines()]


def test_the_benchmark_is_known_by_its_files(folder, tmp_path):
    assert benchmark_of(folder / "mmad") == "mmad" and benchmark_of(folder / "visa_dr") == "visa_dr"
    assert benchmark_of(folder / "visa_dr/VisA") == "visa_dr"
    assert benchmark_of(folder) is None and benchmark_of("procedural:held_out") is None


def test_all_questions_of_mmad_are_asked_alone_after_one_template(folder, tmp_path):
    source, cases = cases_of(folder, "mmad")
    parrot = trees.Parrot()
    rows = answered(tmp_path / "out", parrot, source, cases, "mmad")
    assert len(rows) == 2 * (7 + 7 + 2) and len({row["id"] for row in rows}) == len(rows)
    assert all(row["truth"] == "B" and row["whole"] for row in rows)
    assert all(row["answer"].endswith("| 0 before, 1 shown") for row in rows)
    assert {row["task"] for row in rows} == set(mmad.TASKS), "details of an object are analysis of it"
    assert all(len(batch) <= 4 for batch in parrot.batches)
    asked = parrot.batches[0][0]
    assert "What of anomaly detection?" in asked.question and "B. Second thing.\n" in asked.question
    assert "option's letter" in asked.question
    template = source[list(source.keys).index(rows[0]["references"][0])].image
    assert rows[0]["references"] == ["DS-MVTec/bottle/train/good/001.png"]
    np.testing.assert_array_equal(asked.references[0], template)


@pytest.mark.parametrize(("templates", "shown"), [("similar", ["DS-MVTec/bottle/train/good/000.png"]), ("none", [])])
def test_the_template_can_be_chosen(folder, templates, shown):
    _, cases = cases_of(folder, "mmad", templates)
    assert list(cases[0].references) == shown


def test_sequential_questions_come_after_the_model_s_own_answers(folder, tmp_path):
    source, cases = cases_of(folder, "mmad", sequential=True)
    parrot = trees.Parrot()
    rows = answered(tmp_path / "out", parrot, source, cases, "mmad", at_once=8)
    first = [row for row in rows if row["image"] == "DS-MVTec/bottle/test/bad/000.png"]
    assert [row["answer"].rpartition("| ")[2] for row in first] == [f"{n} before, 1 shown" for n in range(7)]
    third = next(one for batch in parrot.batches for one in batch if len(one.history) == 2)
    assert [answer for _, answer in third.history] == [first[0]["answer"], first[1]["answer"]]
    assert "option's letter" in third.history[0][0] and "option's letter" not in third.question


def test_reasoning_is_a_conversation_and_detection_one_question(folder, tmp_path):
    source, cases = cases_of(folder, "visa_dr")
    rows = answered(tmp_path / "out", trees.Parrot(), source, cases, "visa_dr")
    detection = [row for row in rows if row["task"] == "detection"]
    assert len(detection) == 8 and {row["truth"] for row in detection} == {"Yes", "No"}
    assert all(row["answer"].startswith("Are there any defects for the object in the image?") for row in detection)
    talk = [row for row in rows if row["image"] == "VisA/candle/test/002.JPG" and row["task"] == "reasoning"]
    assert [row["question"] for row in talk] == ["What is wrong?", "Why?", "What to do?"]
    assert [row["answer"].rpartition("| ")[2] for row in talk] == [f"{n} before, 0 shown" for n in range(3)]
    assert not [row for row in rows if row["category"] == "pcb2"], "left out of reasoning, as published"


@pytest.mark.parametrize("name", ["mmad", "visa_dr"])
def test_the_chat_layout_asks_the_same(folder, tmp_path, name):
    source, cases = cases_of(folder, name)
    parrot = trees.Parrot()
    answered(tmp_path / "out", parrot, source, cases, name, layout="chat")
    content = parrot.batches[0][0][0]["content"]
    kinds = [part["type"] for part in content]
    if name == "visa_dr":
        assert kinds == ["image", "text"]
        assert max(len(messages) for batch in parrot.batches for messages in batch) == 5  # the third question
    else:
        assert kinds == ["text", "text", "image", "text", "image", "text", "text"]
        told = " ".join(part["text"] for part in content if part["type"] == "text")
        assert "Picture 1: " in told and "Picture 2: " in told and "1 image of normal sample" in told
    assert not any(isinstance(one, Asked) for batch in parrot.batches for one in batch)


def test_an_answer_that_was_cut_off_is_marked(folder, tmp_path):
    source, cases = cases_of(folder, "mmad")
    assert not any(row["whole"] for row in answered(tmp_path / "out", trees.Parrot(), source, cases, "mmad", max_new=5))


@pytest.mark.parametrize("name", ["mmad", "visa_dr"])
def test_stopped_anywhere_it_ends_with_the_same_bytes_and_the_same_batches(folder, tmp_path, name):
    source, cases = cases_of(folder, name, sequential=True)
    parrot = trees.Parrot()
    answered(tmp_path / "whole", parrot, source, cases, name)
    expected = (tmp_path / "whole" / ANSWERS_FILE).read_bytes()
    keyed = {question(one): len(batch) for batch in parrot.batches for one in batch}
    for stop in range(len(parrot.batches)):
        out = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            answered(out, trees.Parrot(stop_after=stop), source, cases, name)
        with (out / ANSWERS_FILE).open("r+b") as file:  # and a line that was cut off in the middle
            file.truncate(max(0, file.seek(0, 2) - 7))
        second = trees.Parrot()
        answered(out, second, source, cases, name)
        assert (out / ANSWERS_FILE).read_bytes() == expected
        assert all(keyed[question(one)] == len(batch) for batch in second.batches for one in batch)


def question(asked: Asked):
    return asked.question, tuple(asked.history), asked.query.tobytes()


def test_whole_groups_are_not_answered_again(folder, tmp_path):
    source, cases = cases_of(folder, "mmad")
    answered(tmp_path / "out", trees.Parrot(), source, cases, "mmad")
    parrot = trees.Parrot()
    answered(tmp_path / "out", parrot, source, cases, "mmad")
    assert not parrot.batches


def test_a_template_that_is_nowhere_is_one_line(folder, tmp_path):
    source, cases = cases_of(folder, "mmad")
    source._entries = [entry for entry in source._entries if "/train/" not in entry.image]
    with pytest.raises(InputError, match="the template DS-MVTec/bottle/train/good/001.png is not in the dataset"):
        answered(tmp_path / "out", trees.Parrot(), source, cases, "mmad")
