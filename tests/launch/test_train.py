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
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl.testing import flagsaver

import launch.train
from iadgpt_jax.checkpoint.files import STEPS as STEPS_FOLDER
from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import read_model_files, save_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.data.ancestry import INFO_KEY
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from launch.train import train
from tests.data.photographs import draw_dataset
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 12, 5
RUN = {
    "source_categories": 12, "rows": 2, "instances": 3, "steps": STEPS, "checkpoint_every": EVERY, "log_every": 1,
    "keep": 2, "mesh.data": 1, "mesh.fsdp": 2,
}  # fmt: skip
CLOCKED = ("per_second", "data_wait_share", "mfu", "_gib")  # what a log line says of time and memory


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A small model to start from, so that compiling is quick."""
    directory = tmp_path_factory.mktemp("start")
    save_model(directory, lively_params(small_config()), small_config(), tiny_tokenizer(), {})
    return directory


def begin(workdir, start, *words: str) -> subprocess.Popen:
    """A training process on two devices that split every parameter. Compiled once, for all processes."""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(start / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    overrides = [f"--config.{key}={value}" for key, value in {**RUN, "init_from": start}.items()]
    script, config = ROOT / "launch/train.py", ROOT / "configs/stage3.py:tiny"
    return subprocess.Popen(
        [sys.executable, str(script), f"--config={config}", f"--workdir={workdir}", *overrides, *words],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """What a process that ran to its end said."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return errors


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    finish(begin(workdir, start))
    return workdir


def logged(workdir) -> list[dict]:
    path = Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stop_at(step: int, number: int, workdir, start) -> tuple[int, str]:
    """Start or go on with a run and send it a signal once its log has reached `step`: (exit status, what it said)."""
    process = begin(workdir, start)
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        try:
            reached = logged(workdir)[-1]["step"]
        except (IndexError, json.JSONDecodeError):  # nothing yet, or half a line
            reached = 0
        if reached >= step:
            process.send_signal(number)
            break
        time.sleep(0.01)
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


def saved(workdir, step):
    """Everything of one checkpoint as numpy."""
    with ocp.CheckpointManager(Path(workdir).absolute() / STEPS_FOLDER) as manager:
        args = {name: ocp.args.StandardRestore() for name in ("params", "training")}
        restored = manager.restore(step, args=ocp.args.Composite(**args, data=ocp.args.JsonRestore()))
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
    status, said = stop_at(3, signal.SIGTERM, tmp_path, start)
    assert status == 128 + signal.SIGTERM, said
    (step,) = finished_steps(tmp_path)
    assert 3 <= step < STEPS and f"stopped after step {step}" in said

    status, said = stop_at(max(step, EVERY) + 2, signal.SIGKILL, tmp_path, start)
    assert status == -signal.SIGKILL, f"the run ended before it could be killed: {said}"
    assert f"going on from step {step}" in said
    survived = finished_steps(tmp_path)[-1]
    assert survived < logged(tmp_path)[-1]["step"], "killed between checkpoints"

    assert f"going on from step {survived}" in finish(begin(tmp_path, start))
    assert_same_end(tmp_path, undisturbed)
    assert [line["step"] for line in curves(tmp_path)] == list(range(1, STEPS + 1))
    assert curves(tmp_path) == curves(undisturbed)


@pytest.mark.slow
def test_a_run_learns_and_leaves_a_model_that_loads(undisturbed):
    lines = logged(undisturbed)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert set(lines[0]) >= {"step", "loss", "answer", "focal", "dice", "learning_rate", "images_per_second"}
    assert set(lines[0]) >= {"tokens_per_second", "queries_per_second", "filled_slots", "filled_images", "dropped"}
    assert {line["recompilations"] for line in lines} == {0}
    model = load_model(undisturbed)
    assert model.step == STEPS and model.config == small_config() and model.info["stage"] == 3
    assert finished_steps(undisturbed) == [10, STEPS], "config.keep of them"
    assert list(undisturbed.glob("events*")), "TensorBoard"


@pytest.mark.slow
def test_a_finished_run_started_again_changes_nothing_and_needs_no_start_weights(undisturbed, tmp_path):
    before, lines = saved(undisturbed, STEPS), logged(undisturbed)
    gone = tmp_path / "gone"
    gone.mkdir()
    said = finish(begin(undisturbed, gone, "--config.resume_anyway=True"))  # for it is another start
    assert f"going on from step {STEPS}" in said and "init_from" in said
    assert f"{undisturbed} is finished: it has all {STEPS} steps" in said
    assert "images of 12 categories" in said and "parameters" in said  # what it opens with
    assert f"step {STEPS} is saved in {undisturbed}" in said and "next: iadgpt " in said  # and ends with
    jax.tree.map(np.testing.assert_array_equal, saved(undisturbed, STEPS), before)
    assert logged(undisturbed) == lines


FAULTS = {
    "7b without weights": (["--config=configs/stage2.py:7b"], "published weights", "init_from"),
    "unknown key": (["--config=configs/stage2.py:tiny", "--config.nonsense=1"], "'nonsense'", "configuration key"),
    "misspelled key": (["--config=configs/stage2.py:tiny", "--config.optimizer.ratee=1"], "'ratee'", 'mean "rate"'),
    "unknown group": (["--config=configs/stage2.py:tiny", "--config.optimizer.groups.new.rate=2"], "'new'", "key"),
    "no number": (
        ["--config=configs/stage2.py:tiny", "--config.optimizer.rate=nan"],
        "optimizer.rate is nan",
        "0 or more",
    ),
    "unknown flag": (["--config=configs/stage2.py:tiny", "--epochs=3"], "'epochs'", "--config.KEY=VALUE"),
    "missing configuration": (["--config=configs/stage9.py:tiny"], "stage9.py", "configs/stageN.py:SIZE"),
    "unknown size": (["--config=configs/stage1.py:huge"], "'huge'", ":tiny, :bench, :3b or :7b"),
    "folder without images": (["--config=configs/stage3.py:tiny", "--config.source=configs"], "no images", "good"),
    "missing start": (["--config=configs/stage3.py:tiny", "--config.init_from=gone"], "gone", "does not exist"),
    "evaluation data": (
        ["--config=configs/stage3.py:tiny", "--config.source={evaluation}"],
        "16 of 16 records of data belong to evaluation data: bottle/train/good/000.png (bottle is a category of",
        "--config.leakage.drop=True",
    ),
    "workdir is a file": (["--config=configs/stage3.py:tiny", "--workdir=Makefile"], "Makefile", "another path"),
}


def faulty(name: str, workdir: Path) -> list[str]:
    arguments = [argument.format(evaluation=workdir / "data") for argument in FAULTS[name][0]]
    if name == "evaluation data":
        draw_dataset(workdir / "data", ("bottle", "metal nut"))
    return arguments if any("--workdir" in word for word in arguments) else [f"--workdir={workdir}", *arguments]


def assert_one_clear_line(output: str, name: str) -> None:
    (line,) = output.strip().splitlines()
    assert line.startswith("error: ")
    for words in FAULTS[name][1:]:
        assert words in line


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_input_is_one_clear_line_and_status_2(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["launch/train.py", *faulty(name, tmp_path)])  # config_flags looks there, too
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        launch.train.main(launch.train.parse_flags(sys.argv))
    assert ended.value.code == 2
    output, errors = capfd.readouterr()
    assert_one_clear_line(output + errors, name)


def test_wrong_input_is_one_clear_line_in_a_process_of_its_own(tmp_path):
    """No library adds a line while it is loaded, and absl hands the status on."""
    name = "unknown key"
    command = [sys.executable, "launch/train.py", *faulty(name, tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2, ended.stderr
    assert_one_clear_line(ended.stdout + ended.stderr, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(source="nowhere"), "no such dataset: nowhere; name procedural"),
        (dict(source_categories=6, categories="bolt"), "no category bolt; it has"),
        (dict(mesh={"data": 3, "fsdp": 1, "tensor": 1}), "data=3.*does not cover 8 devices: set config.mesh"),
        (dict(frozen="(", source_categories=6), "config.frozen is not a regular expression"),
        (dict(frozen=".", source_categories=6), "freezes every parameter"),
        (dict(map_space="paper"), "map_space is 'paper': choose logit, log_probability, probability or none"),
        (dict(steps=0), "nothing to train"),
        (dict(log_every=0), "config.log_every is 0: choose 1 or more"),
        (dict(checkpoint_every=0), "config.checkpoint_every is 0: choose 1 or more"),
        (dict(dtype="float33"), "config.dtype is 'float33': choose one of float32, bfloat16"),
        (dict(optimizer={"moments": "half"}), "config.optimizer.moments is 'half': choose"),
        (dict(source=""), "needs images.*prepare_data"),
    ],
)
def test_wrong_values_are_input_errors(tmp_path, change, message):
    config = importlib.import_module("configs.stage3").get_config("tiny")
    config.update(change)
    with pytest.raises(InputError, match=message):
        train(config, str(tmp_path))


def test_faults_of_the_configuration_leave_no_workdir(tmp_path):
    config = importlib.import_module("configs.stage2").get_config("7b")
    with pytest.raises(InputError, match="published weights"):
        train(config, str(tmp_path / "never"))
    assert not (tmp_path / "never").exists()


def test_training_starts_from_a_hugging_face_directory_as_from_a_workdir(tmp_path, monkeypatch):
    """Straight onto the mesh in float32. A step that changes nothing leaves the start itself as its checkpoint."""
    model_config, tokenizer = small_config(), tiny_tokenizer()
    params = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), lively_params(model_config))
    tokenizer.save(tmp_path / "tokenizer")
    before = {"stage": 2, "source": "parts", "records": 9, "categories": ["bolt"], "images": []}
    files = tmp_path / "tokenizer", tmp_path / "hf"
    export_hf(params, model_config, *files, dtype="bfloat16", info={INFO_KEY: [before]})

    def idle_step(*_):
        def step(state, rows):
            numbers = {"loss": rows.target_weights.sum(), "gradient_norm": jnp.float32(1), "skipped": jnp.float32(0)}
            return state._replace(step=state.step + 1), numbers

        return step

    monkeypatch.setattr("iadgpt_jax.train.build.make_train_step", idle_step)
    config = importlib.import_module("configs.stage3").get_config("tiny")
    config.update(source_categories=6, steps=1, init_from=str(tmp_path / "hf"), mesh=dict(data=1, fsdp=4, tensor=2))
    train(config, str(tmp_path / "run"))
    model = load_model(tmp_path / "run")
    assert model.config == model_config and model.step == 1
    ancestry = model.info[INFO_KEY]
    assert ancestry[0] == before and len(ancestry) == 2, "what it started from, then its own"
    assert ancestry[1]["source"] == "procedural_train" and ancestry[1]["records"] == 6 * 16
    jax.tree.map(lambda got, sent: np.testing.assert_array_equal(got, sent.astype(np.float32)), model.params, params)
    config.source_categories = 7
    with pytest.raises(InputError, match="another configuration: source_categories 6 -> 7; "):
        train(config, str(tmp_path / "run"))
    config.resume_anyway = True
    train(config, str(tmp_path / "run"))  # goes on, with other data
    assert [entry["records"] for entry in read_model_files(tmp_path / "run")[2][INFO_KEY]] == [9, 6 * 16, 7 * 16]
