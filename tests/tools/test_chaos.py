"""tools/chaos.py counts kills, goes on where it was stopped, and tells a training that ends otherwise."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.journal import Journal
from tools import chaos
from tools.chaos import disturb
from tools.reliability.chaos_table import results, table
from tools.reliability.trainings import Alone, Training

STEPS, LIVES = 10, 4  # a training's steps, and how many lives it takes


class Stub(Training):
    """A training without processes: each life does a few steps and dies of what it is struck with."""

    def __init__(self, out: Path, wrong: int | None = None):
        super().__init__(1, STEPS, out, str(out))
        self.wrong, self.alive, self.statuses = wrong, False, []

    def start(self, run) -> None:
        self.folder = Path(self.workdir(run)) / "checkpoints"
        self.folder.mkdir(parents=True, exist_ok=True)
        last = STEPS if run == chaos.UNDISTURBED else min(self.step(run) + STEPS // LIVES, STEPS)
        for step in range(self.step(run), last + 1):
            (self.folder / str(step)).mkdir(exist_ok=True)
        (self.folder / f"{last}.orbax-checkpoint-tmp").mkdir(exist_ok=True)
        self.alive, self.ending = last < STEPS, 0
        self.notes.write_text("step\nsave\n" * 3)
        self.said.write_text("going on\n")

    def running(self) -> bool:
        return self.alive

    def strike(self, number, rng) -> str:
        self.alive, self.ending = False, -number
        return "the process"

    def status(self) -> int:
        self.statuses.append(self.ending)
        return self.wrong if self.wrong is not None and self.ending else self.ending


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(chaos.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(chaos, "differences", lambda ours, theirs: [])


def entries(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "kills.jsonl").read_text().splitlines()]


def test_every_tenth_kill_is_a_sigterm_and_the_work_goes_on_where_it_stopped(tmp_path):
    for kills in (7, 20):  # the second time 13 are left
        with Journal(tmp_path / "kills.jsonl") as journal:
            disturb(Stub(tmp_path), journal, kills, seed=0)
        found = [entry for entry in entries(tmp_path) if entry["what"] == "kill"]
        assert len(found) == kills
        terms = [number for number, entry in enumerate(found) if entry["signal"] == signal.SIGTERM.name]
        assert terms == list(range(9, kills, 10))
        ends = [entry for entry in entries(tmp_path) if entry["what"] == "end"]
        assert [end["run"] for end in ends] == list(range(len(ends))), "every training is brought to its end"
        assert len({(entry["run"]) for entry in found} - {end["run"] for end in ends}) == 0


def test_the_table_tells_a_training_that_ended_otherwise(tmp_path, monkeypatch):
    with Journal(tmp_path / "kills.jsonl") as journal:
        disturb(Stub(tmp_path), journal, 5, seed=0)
    found = results(entries(tmp_path))
    assert found["equal"] and "| 1 | 5 | 5 | 0 |" in table(found)
    monkeypatch.setattr(chaos, "differences", lambda ours, theirs: ["params['gates']"])
    with Journal(tmp_path / "kills.jsonl") as journal:
        disturb(Stub(tmp_path), journal, 9, seed=0)
    assert not results(entries(tmp_path))["equal"]
    assert not results([])["equal"], "no training shows nothing"


def test_a_training_that_does_not_go_on_is_one_line(tmp_path):
    with Journal(tmp_path / "kills.jsonl") as journal, pytest.raises(InputError, match="ended with status 1"):
        disturb(Stub(tmp_path, wrong=1), journal, 5, seed=0)


def test_going_on_with_another_number_of_steps_is_one_line(tmp_path):
    """Its trainings would all differ from the undisturbed one."""
    with Journal(tmp_path / "kills.jsonl") as journal:
        disturb(Stub(tmp_path), journal, 2, seed=0)
        other = Stub(tmp_path)
        other.steps += 1
        with pytest.raises(InputError, match=f"give --steps={STEPS}"):
            disturb(other, journal, 4, seed=0)


@pytest.mark.nightly
def test_a_real_training_killed_three_times_ends_like_an_undisturbed_one(tmp_path):
    with Alone(10, tmp_path, str(tmp_path)).lives() as training, Journal(tmp_path / "kills.jsonl") as journal:
        disturb(training, journal, 3, seed=0)
    assert results(entries(tmp_path))["equal"]
