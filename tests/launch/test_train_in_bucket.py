"""Training in a workdir gs://…, killed during a save and started again, ends where an undisturbed run in a folder ends.

launch/train.py in processes of its own, against an emulated bucket.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from iadgpt_jax.bucket_files import file_system, listing
from iadgpt_jax.checkpoint.files import COMMITTED, STEPS, finished_steps
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from tests.emulated_bucket import emulated_bucket
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
STEPS_OF_ALL = 8
RUN = {
    "source_categories": 12, "rows": 2, "instances": 3, "steps": STEPS_OF_ALL, "log_every": 1, "checkpoint_every": 2,
    "keep": 2, "mesh.data": 1, "optimizer.kind": "adamw", "optimizer.warmup": 1,
}  # fmt: skip


def begin(workdir: str, start: str) -> subprocess.Popen:
    words = [f"--config.{key}={value}" for key, value in (RUN | {"init_from": start}).items()]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    return subprocess.Popen(
        [sys.executable, "launch/train.py", "--config=configs/stage3.py:tiny", f"--workdir={workdir}", *words],
        cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def half_saved(workdir: str) -> bool:
    """Whether a step is being written: it has objects, but not the last one."""
    names = [name.removeprefix(f"{STEPS}/") for name in listing(workdir) if name.startswith(f"{STEPS}/")]
    steps = {name.split("/")[0] for name in names}
    return any(f"{step}/{COMMITTED}" not in names and int(step) > 2 for step in steps)


@pytest.mark.nightly
def test_killed_during_a_save_it_ends_where_an_undisturbed_run_ends(tmp_path):
    start = tmp_path / "start"
    save_model(start, lively_params(small_config()), small_config(), tiny_tokenizer(), {})
    undisturbed = begin(str(tmp_path / "run"), str(start))
    assert not undisturbed.wait(), undisturbed.stderr.read()
    with emulated_bucket() as bucket:
        workdir = f"{bucket}/run"
        running = begin(workdir, str(start))
        deadline = time.monotonic() + 900
        while not half_saved(workdir) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        running.kill()
        running.wait()
        whole = finished_steps(workdir)
        assert half_saved(workdir) and whole and whole[-1] < STEPS_OF_ALL, running.stderr.read()

        running = begin(workdir, str(start))
        said = running.communicate()[1]
        assert running.returncode == 0, said
        assert f"{workdir}/LOCK was left by process" in said and f"going on from step {whole[-1]} of {workdir}" in said
        assert finished_steps(workdir) == finished_steps(tmp_path / "run") == [STEPS_OF_ALL - 2, STEPS_OF_ALL]
        ours, theirs = load_model(workdir), load_model(tmp_path / "run")
        jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
        log = file_system(workdir).cat_file(f"{workdir}/metrics.jsonl").decode().splitlines()
        assert [json.loads(line)["step"] for line in log] == list(range(1, STEPS_OF_ALL + 1))
        there = listing(workdir)
        assert "model.json" in there and "tokenizer/tokenizer.json" in there and "LOCK" not in there
        assert any(name.startswith("events.out.tfevents") for name in there)
    assert not (ROOT / "gs:").exists()
