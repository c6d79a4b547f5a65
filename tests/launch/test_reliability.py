"""Training against bad numbers, other configurations and other runs: stopped in one line, checkpoints whole.

A small model, in this process.
"""

from __future__ import annotations

import functools
import importlib
import json

import jax
import numpy as np
import pytest

import launch.train
from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from launch.train import train
from tests.small_iadgpt import lively_params, small_config


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
