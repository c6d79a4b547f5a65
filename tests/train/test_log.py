"""What training writes of its data is of all processes: how full rows are, what was dropped, the mix of tasks."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.data.tally import Tally, Taught
from iadgpt_jax.sharding import make_mesh
from iadgpt_jax.train.log import TrainLog
from iadgpt_jax.train.speed import Speed
from iadgpt_jax.train.sums import ProcessSums
from iadgpt_jax.train.watch import Recompilations

TASKS = ("inspect", "describe")
OURS = Tally(
    slots=90, slots_room=100, images=8, images_room=10, maps=4, pairs=1000, dropped=0, cut=1,
    tasks={"inspect": Taught(1, 9, 18)},
)  # fmt: skip
THEIRS = Tally(
    slots=70,
    slots_room=100,
    images=10,
    images_room=10,
    maps=0,
    pairs=500,
    dropped=2,
    tasks={"describe": Taught(1, 3, 42)},
)


def log_of(tmp_path, steps=4, every=2, **options) -> TrainLog:
    speed = Speed(lambda tally: 0.0, devices=1, peak=None)
    mesh = make_mesh(8, 1, 1)
    return TrainLog(
        tmp_path, "stage 9", 0, steps, every, speed, Recompilations("step"), tasks=TASKS, mesh=mesh,
        **{"shares": 1, **options},
    )  # fmt: skip


def lines_of(tmp_path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def run(log: TrainLog, steps: int, tally: Tally) -> None:
    for step in range(1, steps + 1):
        log.step(step, {"loss": jnp.float32(1.0)}, tally, waited=0.0)
    log.close()
    log.compiled.close()  # or it counts, and speaks up, in later files' tests


def test_lines_and_the_end_say_what_was_trained_on(tmp_path, capsys):
    run(log_of(tmp_path), 4, OURS + THEIRS)
    line = lines_of(tmp_path)[-1]
    assert (line["filled_slots"], line["filled_images"]) == (0.8, 0.9)
    assert (line["dropped"], line["cut"], line["questions_per_step"]) == (0.5, 0.5, 12)
    assert (line["mix/inspect/questions"], line["mix/describe/questions"]) == (0.75, 0.25)
    assert (line["mix/inspect/answer_tokens"], line["mix/describe/answer_tokens"]) == (0.3, 0.7)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "stage 9 since step 0: 48 questions, of them (and of the 240 answer tokens) inspect 75.0% (30.0%)"
    )


def test_counts_are_sums_over_processes(tmp_path, monkeypatch):
    """This process holds OURS, the other THEIRS: each line is of both."""
    monkeypatch.setattr("jax.process_count", lambda: 2)

    class Two:
        def __init__(self, mesh):
            pass

        def __call__(self, numbers, after):
            theirs = (THEIRS + THEIRS).numbers(TASKS)
            return numbers + np.array([*theirs, *theirs, 0.0])

    monkeypatch.setattr("iadgpt_jax.train.log.ProcessSums", Two)
    run(log_of(tmp_path, steps=2, every=2, shares=2), 2, OURS)
    (line,) = lines_of(tmp_path)
    # Two steps of theirs and, the first being left out of what is measured, one of ours.
    both = THEIRS + THEIRS + OURS
    assert (line["filled_slots"], line["filled_images"]) == pytest.approx(both.filled, abs=1e-6)
    assert line["dropped"] == pytest.approx(both.dropped_share, abs=1e-6)
    assert line["mix/describe/questions"] == pytest.approx(6 / 15, abs=1e-6)


def test_only_the_main_process_writes(tmp_path, capsys):
    run(log_of(tmp_path, is_main_process=False), 4, OURS)
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2)])
def test_sums_of_one_process_are_its_numbers(sizes):
    """On whatever mesh: seven of its eight devices add nothing. (Two processes: tests/launch/test_local.py.)"""
    numbers = np.array([3.0, 0.25, 1e9])
    sums = ProcessSums(make_mesh(*sizes))(numbers, jnp.float32(np.nan))
    np.testing.assert_allclose(np.asarray(sums), numbers, rtol=1e-6)


def test_tallies_survive_being_numbers():
    numbers = (OURS + THEIRS).numbers(TASKS)
    assert Tally.of_numbers(TASKS, numbers) == OURS + THEIRS


def test_words_are_logged_as_means_where_a_step_has_some(tmp_path):
    log = log_of(tmp_path, steps=2, every=1)
    for step, kinds in ((1, 4.0), (2, 0.0)):
        metrics = {"loss": 1.0, "answer_sum/kind": 2.0 * (kinds > 0), "answer_count/kind": kinds}
        log.step(step, {name: jnp.float32(value) for name, value in metrics.items()}, OURS, waited=0.0)
    log.close()
    log.compiled.close()
    first, second = lines_of(tmp_path)
    assert first["answer/kind"] == 0.5 and "answer/kind" not in second
    assert not any("answer_sum" in name or "answer_count" in name for name in (*first, *second))
