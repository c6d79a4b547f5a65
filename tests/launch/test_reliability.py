"""Training against bad numbers, other configurations and other runs: stopped in one line, checkpoints whole.

A small model, in this process.
"""

from __future__ import annotations

import errno
import functools
import importlib
import json
import os
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import launch.train
from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.lock import FILE, locked
from iadgpt_jax.checkpoint.whole import newest_whole
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.train import watchdog
from iadgpt_jax.train.changes import changes
from iadgpt_jax.train.watchdog import Watchdog
from launch.quickstart import configs_of as quickstart_configs
from launch.quickstart import own
from launch.train import train
from tests.small_iadgpt import lively_params, small_config
from tools import replay_step

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    directory = tmp_path_factory.mktemp("start")
    save_model(directory, lively_params(small_config()), small_config(), tiny_tokenizer(), {})
    return directory


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Of the eight that tests have: compiling is quicker."""
    one = functools.partial(launch.train.make_mesh, devices=jax.devices()[:1])
    monkeypatch.setattr(launch.train, "make_mesh", one)


def configured(start, **changes):
    config = importlib.import_module("configs.stage3").get_config("tiny")
    config.update_from_flattened_dict(
        {"init_from": str(start), "source_categories": 12, "rows": 2, "instances": 3, "steps": 8, "log_every": 1,
         "checkpoint_every": 2, "keep": 2, "mesh.data": 1, "optimizer.kind": "adamw", "optimizer.warmup": 1} | changes
    )  # fmt: skip
    return config


def strict(path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_numbers_that_are_not_finite_stop_a_run_and_spare_its_checkpoints(start, tmp_path, capsys):
    """A rate so high that after the first step nothing is finite."""
    with pytest.raises(InputError, match=r"steps 2 to 4 were not applied.*replay_step.py --workdir=.* --step=2"):
        train(configured(start, **{"optimizer.rate": 1e38}), str(tmp_path))
    said = capsys.readouterr().err
    assert "step 2 is not applied" in said
    lines = strict(tmp_path / "nonfinite.jsonl")
    assert [line["step"] for line in lines] == [2, 3, 4]
    assert {"loss", "answer", "focal", "dice", "gradient_norm"} <= lines[0]["values"].keys()
    assert lines[0]["records"] and all(name.startswith("procedural_train: ") for name in lines[0]["records"])
    logged = strict(tmp_path / "metrics.jsonl")
    assert logged[0]["skipped"] == 0.0 and logged[1]["skipped"] == 1.0 and logged[1]["gradient_norm"] is None
    assert finished_steps(tmp_path), "what was saved before stays"
    params = load_model(tmp_path).params
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(params))

    replay_step.main([f"--workdir={tmp_path}", "--step=2"])
    output, said = capsys.readouterr()
    told = dict(line.split(": ") for line in output.splitlines() if ": " in line and not line.startswith(" "))
    assert told["skipped"] == "1" and "nan" in (told["loss"], told["gradient_norm"]) and "from the start" in said
    assert "\n  language/embedding\n" in output.partition("not finite")[2]
    assert all(f"\n  {name}" in output for name in lines[0]["records"]), "the same records"


class Stuck:
    """A source on a file system that stops answering as soon as the workdir holds a checkpoint."""

    def __init__(self, source, workdir):
        self.source, self.workdir, self.ended = source, workdir, threading.Event()
        self.name, self.records, self.asked = source.name, source.records, threading.Event()

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if finished_steps(self.workdir):
            self.asked.set()
            self.ended.wait()
            raise RuntimeError("the process has ended")
        return self.source[index]


@pytest.mark.nightly  # tests/train/test_watchdog.py ends processes; this is the loop's part
def test_a_stuck_loader_ends_the_job_by_name_and_leaves_the_last_checkpoint_whole(
    start, tmp_path, monkeypatch, quick_compilation
):
    """Here the read fails at last instead of the process ending."""
    config = configured(start, watchdog_minutes=0.05, steps=60)
    source = Stuck(open_source("procedural", side=config.image_side, seed=0, procedural_categories=12), tmp_path)
    told = []

    def end(line: str) -> None:
        told.append((line, newest_whole(tmp_path)))
        source.ended.set()

    monkeypatch.setattr(watchdog, "_end_process", end)
    # However slow this machine is: 2 seconds, but only once the source is stuck and what was ready is used up.
    stuck = lambda dog: source.asked.is_set() and "batch" in dog.what  # noqa: E731
    monkeypatch.setattr(Watchdog, "limit", property(lambda dog: 2.0 if stuck(dog) else 3600.0))
    with pytest.raises(RuntimeError, match="the process has ended"):
        train(config, str(tmp_path), source)
    ((line, whole),) = told
    assert whole >= 2 and f"of {tmp_path}, while waiting for a batch of images" in line


@pytest.fixture
def begun(start, tmp_path):
    """A workdir with a step of a run of seed 0, to refuse: refusing reads no weights."""
    info = {"config": launch.train.json_config(configured(start))}
    save_model(tmp_path / "run", lively_params(small_config()), small_config(), tiny_tokenizer(), info)
    return tmp_path / "run"


def test_another_configuration_is_refused_with_the_difference(begun, start):
    before = (begun / "model.json").read_text()
    with pytest.raises(InputError, match=r"optimizer.rate 0.004 -> 0.1, seed 0 -> 1; .*--config.resume_anyway=True"):
        train(configured(start, **{"seed": 1, "optimizer.rate": 0.1}), str(begun))
    assert (begun / "model.json").read_text() == before and not (begun / FILE).exists()


def test_a_second_run_in_a_workdir_is_refused_and_a_dead_ones_lock_taken_over(begun, start, capsys):
    other = configured(start, seed=1)  # refused as well, which shows that the lock was got
    with locked(begun):
        with pytest.raises(InputError, match=rf"{begun} is in use by process {os.getpid()} on "):
            train(other, str(begun))
        left = (begun / FILE).read_text()
    (begun / FILE).write_text(json.dumps(json.loads(left) | {"started": "1"}))
    with pytest.raises(InputError, match="seed 0 -> 1"):
        train(other, str(begun))
    assert "taken over" in capsys.readouterr().err and not (begun / FILE).exists()


def test_a_workdir_that_takes_no_file_is_one_line(start, tmp_path, monkeypatch):
    def refuse(path, flags, *rest, **more):
        if Path(path).name == FILE:
            raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))
        return os_open(path, flags, *rest, **more)

    os_open = os.open
    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, who can write anywhere
    with pytest.raises(InputError, match=r"LOCK cannot be written \(Read-only file system\)"):
        train(configured(start), str(tmp_path))


def test_quickstart_tells_whose_run_lies_in_its_workdir_and_refuses_another_seed(tmp_path, capsys):
    info = {"config": launch.train.json_config(quickstart_configs(tmp_path, seed=0, scale=0.1)["stage1"])}
    save_model(tmp_path / "stage1", lively_params(small_config()), small_config(), tiny_tokenizer(), info)
    own(tmp_path, quickstart_configs(tmp_path, seed=0, scale=0.1))
    assert "holds a run of seed 0: stage1 at step 0 of " in capsys.readouterr().err
    with pytest.raises(InputError, match=rf"{tmp_path} holds a run of seed 0, not 3: pass --seed=0 .*--workdir"):
        own(tmp_path, quickstart_configs(tmp_path, seed=3, scale=0.1))
    with pytest.raises(InputError, match=r"stage1 has \d+ steps there, not \d+: pass the --steps_scale"):
        own(tmp_path, quickstart_configs(tmp_path, seed=0, scale=0.2))
    own(tmp_path / "new", quickstart_configs(tmp_path / "new", seed=3, scale=0.1))


def test_a_quickstart_that_was_moved_goes_on(tmp_path):
    """What a stage was started from is not read again."""
    info = {"config": launch.train.json_config(quickstart_configs(tmp_path / "old", 0, 0.1)["stage2"])}
    save_model(tmp_path / "new/stage2", lively_params(small_config()), small_config(), tiny_tokenizer(), info)
    configs = quickstart_configs(tmp_path / "new", 0, 0.1)
    own(tmp_path / "new", configs)
    assert changes(info["config"], launch.train.json_config(configs["stage2"])) == {}
