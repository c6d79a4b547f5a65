"""Running a sweep: jobs once and in order, failures named, killed at any point it gives the same table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from iadgpt_jax.sweep.lock import held
from iadgpt_jax.sweep.run import Runner, cores_of
from tests.sweep import stub

KILLS = 20


@pytest.fixture
def root(tmp_path):
    return tmp_path / "project"


def starts(workdir: Path, kind: str) -> list[int]:
    """How often each stage of a kind was started."""
    return [len(file.read_text().splitlines()) for file in sorted(workdir.glob(f"stages/{kind}-*/starts"))]


def test_what_trials_share_is_trained_once(root, tmp_path):
    made = stub.plan(root, tmp_path / "one")
    outcome = stub.run(made, tmp_path / "one")
    assert not outcome.failed and outcome.stopped is None
    assert starts(tmp_path / "one", "stage1") == [1, 1] and starts(tmp_path / "one", "stage2") == [1, 1]
    assert [row["seeds"] for row in stub.numbers(made)["rows"]] == [[0, 1]] * 3
    # Another sweep in the same folder adds only what is new; nothing at all if it is the same.
    stub.run(stub.plan(root, tmp_path / "one", seeds=(0, 1, 2)), tmp_path / "one")
    assert starts(tmp_path / "one", "stage1") == [1, 1, 1]


def test_in_parallel_it_gives_the_same_table(root, tmp_path):
    found = {}
    for parallel in (1, 3):
        workdir = tmp_path / str(parallel)
        made = stub.plan(root, workdir)
        found[parallel] = stub.numbers(made, stub.run(made, workdir, parallel=parallel))
    assert found[1] == found[3]
    assert [cores_of(number, 2, [4, 5, 6]) for number in range(2)] == [{4, 6}, {5}]
    assert [cores_of(number, 3, [4, 5]) for number in range(3)] == [{4}, {5}, {4}]


@pytest.mark.parametrize(
    ("setting", "tries", "said"),
    [
        (stub.broken(crashes=99), 2, ["exit status 1", "RuntimeError: step 3 broke"]),
        (stub.broken(fault="yes"), 1, ["exit status 2", "error: no such thing: choose another"]),
    ],
    ids=["crash", "faulty input"],
)
def test_a_trial_that_fails_for_good_is_named_and_the_rest_goes_on(root, tmp_path, setting, tries, said):
    """A crash is tried once more, faulty input is not; what needs the stage has failed with it."""
    made = stub.plan(root, tmp_path / "some", stub.sweep(broken=setting))
    found = stub.numbers(made, stub.run(made, tmp_path / "some", parallel=2))
    assert [len(row["seeds"]) for row in found["rows"]] == [2, 2, 2, 0]
    assert [(one["name"], one["seed"]) for one in found["failed"]] == [("broken", 0), ("broken", 1)]
    lines = found["failed"][0]["why"].splitlines()
    assert [lines[0], lines[-1]] == said
    failed = tmp_path / "some" / "stages" / found["failed"][0]["job"]
    assert len((failed / "starts").read_text().splitlines()) == tries
    whole = stub.plan(root, tmp_path / "whole")
    assert stub.numbers(whole, stub.run(whole, tmp_path / "whole"))["rows"] == found["rows"][:3]


def test_a_crash_that_does_not_come_again_costs_nothing_but_time(root, tmp_path):
    made = stub.plan(root, tmp_path / "some", stub.sweep(broken=stub.broken(crashes=1)), seeds=(0,))
    outcome = stub.run(made, tmp_path / "some")
    assert not outcome.failed and stub.numbers(made)["rows"][3]["seeds"] == [0]


def test_killed_at_random_points_it_gives_the_table_of_an_undisturbed_run(root, tmp_path):
    """With -9, the sweep alone or with what it runs, while one trial fails for good."""
    of = stub.sweep(broken=stub.broken(crashes=99))
    whole = stub.plan(root, tmp_path / "whole", of)
    expected = stub.numbers(whole, stub.run(whole, tmp_path / "whole"))
    workdir = tmp_path / "killed"
    command = [sys.executable, stub.__file__, root, workdir, KILLS, 7]
    slow = os.environ | {"STEP_SECONDS": "0.05", "PYTHONPATH": str(Path(stub.__file__).parents[2])}
    done = subprocess.run(list(map(str, command)), env=slow, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["killed"] >= KILLS, done.stderr[-2000:]
    made = stub.plan(root, workdir, of)
    found = stub.numbers(made, stub.run(made, workdir, parallel=2))
    assert found["rows"] == expected["rows"] and len(found["failed"]) == 2
    assert max(starts(workdir, "stage1")) > 1  # some stage was really cut off, and went on


def test_two_sweeps_in_one_folder_train_no_stage_twice(root, tmp_path, monkeypatch):
    monkeypatch.setenv("STEP_SECONDS", "0.02")
    workdir = tmp_path / "both"
    made = stub.plan(root, workdir)
    threads = [threading.Thread(target=stub.run, args=(made, workdir)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert starts(workdir, "stage1") == [1, 1] and starts(workdir, "stage2") == [1, 1]


def test_a_lock_lives_as_long_as_its_holder_or_what_that_started(tmp_path):
    """A stale file is no lock; the lock of a killed sweep is held by the training that it left running."""
    said = []
    (tmp_path / ".lock").write_text("process 1 on nowhere")
    with held(tmp_path, said.append, lambda: False) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    try:
        with held(tmp_path, said.append, lambda: bool(said)) as second:
            assert second is None
        assert len(said) == 1 and said[0].startswith(f"process {os.getpid()} on ")
    finally:
        child.kill()
        child.wait()
    with held(tmp_path, said.append, lambda: True) as third:
        assert third is not None


def test_a_signal_is_passed_on_and_the_same_command_goes_on(root, tmp_path, monkeypatch):
    monkeypatch.setenv("STEP_SECONDS", "0.05")
    workdir = tmp_path / "stopped"
    made = stub.plan(root, workdir)
    workdir.mkdir()
    runner = Runner(made, workdir, interpreter=(sys.executable, "-S", "-E"))
    threading.Timer(0.4, runner.stop, (signal.SIGTERM,)).start()
    began = time.monotonic()
    outcome = runner.run()
    assert outcome.stopped == signal.SIGTERM and not outcome.failed and time.monotonic() - began < 5
    assert not all(job.finished for job in made.jobs.values())
    monkeypatch.setenv("STEP_SECONDS", "0")
    assert not stub.run(made, workdir).failed and all(job.finished for job in made.jobs.values())


def test_progress_says_what_is_done_and_what_is_left(root, tmp_path, capsys):
    made = stub.plan(root, tmp_path / "some", seeds=(0,))
    stub.run(made, tmp_path / "some")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("sweep stub: 0 of 5 jobs done") and "left" in lines[0]
    assert lines[-1] == "sweep stub: 5 of 5 jobs done"
