"""launch/train.py: killed and restarted it ends where an undisturbed run ends, and wrong input is one line.

Runs are really stopped by signals, in processes of their own; what they leave is compared bit for bit.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.train.checkpoint import Checkpoints, finished_steps, load_model, save_model
from launch.train import train
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 30, 7
RUN = {"source_categories": 12, "steps": STEPS, "checkpoint_every": EVERY, "log_every": 1, "keep": 3}
CLOCKED = ("per_second", "data_wait_share")  # what a log line says of time


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A small model to start from, so that compiling is quick."""
    directory = tmp_path_factory.mktemp("start")
    save_model(directory, lively_params(small_config()), small_config(), tiny_tokenizer(), {})
    return directory


def configuration(start, **changes):
    config = importlib.import_module("configs.stage3").get_config("tiny")
    with config.unlocked():
        config.update({**RUN, "init_from": str(start), **changes})
    return config


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    train(configuration(start), str(workdir))
    return workdir


def command(workdir, start) -> list[str]:
    overrides = {**RUN, "init_from": start}
    return [
        sys.executable, str(ROOT / "launch/train.py"), f"--config={ROOT}/configs/stage3.py:tiny",
        f"--workdir={workdir}", *(f"--config.{key}={value}" for key, value in overrides.items()),
    ]  # fmt: skip


def logged(workdir) -> list[dict]:
    path = Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stop_at(step: int, number: int, workdir, start) -> subprocess.CompletedProcess:
    """Start or go on with a run and send it a signal once its log has reached `step`."""
    process = subprocess.Popen(command(workdir, start), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        try:
            reached = logged(workdir)[-1]["step"]
        except (IndexError, json.JSONDecodeError):  # nothing yet, or half a line
            reached = 0
        if reached >= step:
            process.send_signal(number)
            break
        time.sleep(0.01)
    _, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, stderr=errors)


def saved(workdir, step):
    """Everything of one checkpoint as numpy."""
    with Checkpoints(workdir, read_only=True) as checkpoints:
        args = {name: ocp.args.StandardRestore() for name in ("params", "training")}
        restored = checkpoints.manager.restore(step, args=ocp.args.Composite(**args, data=ocp.args.JsonRestore()))
    return jax.tree.map(np.asarray, dict(restored))


def assert_same_end(ours, theirs):
    ours, theirs = saved(ours, STEPS), saved(theirs, STEPS)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert len(jax.tree.leaves(ours["training"])) > 2 * 20, "both moments of every trained parameter"
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def curves(workdir) -> list[dict]:
    return [{key: value for key, value in line.items() if not key.endswith(CLOCKED)} for line in logged(workdir)]


@pytest.mark.slow
def test_stopped_and_killed_it_ends_where_an_undisturbed_run_ends(undisturbed, start, tmp_path):
    """SIGTERM saves and leaves with 143, SIGKILL between checkpoints leaves the last one; the third start finishes."""
    stopped = stop_at(3, signal.SIGTERM, tmp_path, start)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    (step,) = finished_steps(tmp_path)
    assert 3 <= step < STEPS and f"stopped after step {step}" in stopped.stderr

    killed = stop_at(max(step, EVERY) + 2, signal.SIGKILL, tmp_path, start)
    assert killed.returncode == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    assert f"going on from step {step}" in killed.stderr
    survived = finished_steps(tmp_path)[-1]
    assert survived < logged(tmp_path)[-1]["step"], "killed between checkpoints"

    finished = subprocess.run(command(tmp_path, start), stderr=subprocess.PIPE, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"going on from step {survived}" in finished.stderr
    assert_same_end(tmp_path, undisturbed)
    assert [line["step"] for line in curves(tmp_path)] == list(range(1, STEPS + 1))
    assert curves(tmp_path) == curves(undisturbed)


@pytest.mark.slow
def test_a_run_learns_and_leaves_a_model_that_loads(undisturbed):
    lines = logged(undisturbed)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert set(lines[0]) >= {"step", "loss", "answer", "focal", "dice", "learning_rate", "images_per_second"}
    model = load_model(undisturbed)
    assert model.step == STEPS and model.config == small_config() and model.info["stage"] == 3
    assert finished_steps(undisturbed) == [21, 28, STEPS], "config.keep of them"
    assert list(undisturbed.glob("events*")), "TensorBoard"


@pytest.mark.slow
def test_a_finished_run_started_again_changes_nothing_and_needs_no_start_weights(undisturbed):
    before = saved(undisturbed, STEPS)
    lines = logged(undisturbed)
    train(configuration("/no/longer/there"), str(undisturbed))
    jax.tree.map(np.testing.assert_array_equal, saved(undisturbed, STEPS), before)
    assert logged(undisturbed) == lines


FAULTS = {
    "7b without weights": (["--config=configs/stage2.py:7b"], "published weights", "init_from"),
    "7b without data": (["--config=configs/stage2.py:7b", "--config.init_from=x"], "needs images", "prepare_data"),
    "unknown key": (["--config=configs/stage2.py:tiny", "--config.nonsense=1"], "'nonsense'", "configuration key"),
    "misspelled key": (["--config=configs/stage2.py:tiny", "--config.optimizer.ratee=1"], "'ratee'", 'mean "rate"'),
    "wrong type": (["--config=configs/stage2.py:tiny", "--config.steps=many"], "--config.steps=many", "int"),
    "unknown flag": (["--config=configs/stage2.py:tiny", "--epochs=3"], "'epochs'", "--config.KEY=VALUE"),
    "stray argument": (["--config=configs/stage2.py:tiny", "more"], "more", "--config.KEY=VALUE"),
    "no configuration": ([], "--config", "configs/stageN.py:SIZE"),
    "missing configuration": (["--config=configs/stage9.py:tiny"], "stage9.py", "configs/stageN.py:SIZE"),
    "unknown size": (["--config=configs/stage1.py:huge"], "'huge'", ":tiny, :3b or :7b"),
    "folder without images": (["--config=configs/stage3.py:tiny", "--config.source=configs"], "no images", "good"),
    "missing folder": (["--config=configs/stage3.py:tiny", "--config.source=nowhere"], "nowhere", "procedural"),
    "missing start": (["--config=configs/stage3.py:tiny", "--config.init_from=gone"], "gone", "does not exist"),
    "workdir is a file": (["--config=configs/stage3.py:tiny", "--workdir=Makefile"], "Makefile", "another path"),
    "no such category": (
        ["--config=configs/stage3.py:tiny", "--config.source_categories=12", "--config.categories=x"],
        "no category x", "it has",
    ),
    "devices": (["--config=configs/stage3.py:tiny", "--config.mesh.data=3"], "data=3", "config.mesh"),
    "frozen": (["--config=configs/stage3.py:tiny", "--config.frozen=("], "config.frozen", "regular expression"),
}  # fmt: skip


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """What each faulty command says: (exit status, output). They run together, a few at a time."""
    said, running = {}, {}

    def collect(name):
        process = running.pop(name)
        output, errors = process.communicate(timeout=300)
        said[name] = process.returncode, output + errors

    for name, (arguments, *_) in FAULTS.items():
        workdir = tmp_path_factory.mktemp("fault")
        where = [] if any("--workdir" in argument for argument in arguments) else [f"--workdir={workdir}"]
        running[name] = subprocess.Popen(
            [sys.executable, "launch/train.py", *where, *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if len(running) > (os.cpu_count() or 1):
            collect(next(iter(running)))
    for name in list(running):
        collect(name)
    return said


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_input_is_one_clear_line_and_status_2(failures, fault):
    _, *expected = FAULTS[fault]
    status, output = failures[fault]
    assert status == 2, output
    (line,) = output.strip().splitlines()
    assert line.startswith("error: ")
    for words in expected:
        assert words in line


def test_faults_are_found_before_anything_is_built(tmp_path):
    """Called from Python the same faults are InputErrors, and no workdir is left where the configuration is wrong."""
    config = importlib.import_module("configs.stage2").get_config("7b")
    with pytest.raises(InputError, match="published weights"):
        train(config, str(tmp_path / "never"))
    config = importlib.import_module("configs.stage2").get_config("tiny")
    config.map_space = "paper"
    with pytest.raises(InputError, match="map_space is 'paper': choose logit, probability or none"):
        train(config, str(tmp_path / "never"))
    config.map_space, config.steps = "logit", 0
    with pytest.raises(InputError, match="nothing to train"):
        train(config, str(tmp_path / "never"))
    assert not (tmp_path / "never").exists()
