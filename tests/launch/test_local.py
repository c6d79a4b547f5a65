"""launch/local.py and training in several processes: the same losses as in one, to rounding; a dead process is named.

Two processes with two fake devices each, really started and really killed, on one file system.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from tests.launch.test_train import curves, logged
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 10, 3  # one number of steps for all runs: it is in the program, which is compiled for a mesh once
ALONE, MESH, OTHER = (4, 1, 1), (1, 2, 2), (1, 4, 1)  # data, fsdp, tensor: of one process, and of two
RUN = {
    "source_categories": 12, "rows": 4, "instances": 4, "steps": STEPS, "checkpoint_every": EVERY, "log_every": 1,
    "optimizer.kind": "adamw", "optimizer.warmup": 2, "keep": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    directory = tmp_path_factory.mktemp("start")
    save_model(directory, lively_params(small_config()), small_config(), tiny_tokenizer(), {})
    return directory


def begin(processes: int, devices: int, command: list, cache: Path, **options) -> subprocess.Popen:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "launch/local.py", f"--processes={processes}", f"--devices={devices}", "--", *command]
    return subprocess.Popen(
        [str(word) for word in command], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **options
    )


def ended(job: subprocess.Popen) -> tuple[int, str]:
    """(exit status, what it said) of a job; one that takes too long is ended, with its processes."""
    try:
        _, said = job.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        job.terminate()
        time.sleep(5)
        job.terminate()  # the second signal does not wait for a checkpoint
        job.communicate(timeout=60)
        raise
    return job.returncode, said


def job(workdir: Path, start: Path, mesh=MESH, processes: int = 2) -> subprocess.Popen:
    """launch/train.py on four devices. All jobs on a mesh share what the first of them compiled."""
    settings = {**RUN, "init_from": start} | dict(zip(("mesh.data", "mesh.fsdp", "mesh.tensor"), mesh, strict=True))
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    command = ["launch/train.py", "--config=configs/stage3.py:tiny", f"--workdir={workdir}", *words]
    return begin(processes, 4 // processes, command, start / "compiled", stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """Mesh -> the curves of a whole run on it: in one process if it is ALONE, else in two."""

    @functools.cache
    def run(mesh) -> list[dict]:
        workdir = tmp_path_factory.mktemp("x".join(map(str, mesh)))
        status, said = ended(job(workdir, start, mesh, processes=1 if mesh == ALONE else 2))
        assert status == 0, said
        return curves(workdir)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [MESH, pytest.param(OTHER, marks=pytest.mark.nightly)], ids=str)
def test_two_processes_compute_what_one_computes(undisturbed, mesh):
    """The losses of every step, to rounding; exactly the same targets, so the same instances; and what the host counts,
    which is of both."""
    expected, got = undisturbed(ALONE), undisturbed(mesh)
    assert len(expected) == STEPS and expected[0]["loss"] != expected[-1]["loss"]
    assert_same(got, expected)
    counted = [name for name in expected[0] if name.startswith(("filled", "dropped", "cut", "questions", "mix/"))]
    assert len(counted) > 8
    for name in counted:
        assert [line[name] for line in got] == pytest.approx([line[name] for line in expected], abs=2e-6), name


def assert_same(got: list[dict], expected: list[dict]) -> None:
    for name in ("step", "targets"):
        assert [line[name] for line in got] == [line[name] for line in expected]
    for name in ("loss", "answer", "focal", "dice", "gradient_norm"):
        np.testing.assert_allclose(
            [line[name] for line in got], [line[name] for line in expected], rtol=2e-5, err_msg=name
        )


def wait_for(step: int, workdir: Path, running: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while running.poll() is None and time.monotonic() < deadline:
        try:
            if logged(workdir)[-1]["step"] >= step:
                return
        except (IndexError, json.JSONDecodeError):  # nothing yet, or half a line
            pass
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_ends_the_job_by_name_and_a_restart_goes_on(undisturbed, start, tmp_path):
    """SIGTERM to the job: both save after the same step. SIGKILL to one process: the job ends within seconds and says
    which it was. The third start finishes, with the losses of an undisturbed run."""
    running = job(tmp_path, start)
    wait_for(1, tmp_path, running)
    running.send_signal(signal.SIGTERM)
    status, said = ended(running)
    assert status == 128 + signal.SIGTERM, said
    step = finished_steps(tmp_path)[-1]
    assert step < STEPS - EVERY and said.count(f"stopped after step {step}") == 1, "one process speaks"

    running = job(tmp_path, start)
    wait_for(step + EVERY, tmp_path, running)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    victim = int(children[1])  # they were started in order
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    status, said = ended(running)
    assert time.monotonic() - killed < 30
    assert status == 128 + signal.SIGKILL, said
    assert f"error: process 1 of 2 (pid {victim}) was killed by SIGKILL" in said
    assert said.count(f"going on from step {step}") == 1

    survived = finished_steps(tmp_path)[-1]
    running = job(tmp_path, start)
    status, said = ended(running)
    assert status == 0 and f"going on from step {survived}" in said
    assert finished_steps(tmp_path)[-1] == STEPS
    assert_same(curves(tmp_path), undisturbed(MESH))


AGREE = """
import sys
sys.path.insert(0, {root!r})
import jax
from iadgpt_jax.distributed import check_agreement, decided, joined
from iadgpt_jax.errors import clear_errors

with clear_errors(), joined():
    mine = jax.process_index()
    assert decided(lambda: ["step", mine]) == ["step", 0], "process 0 decides"
    check_agreement({"seed": 0, "code": "ab"})
    check_agreement({"seed": mine, "name": "é" * (mine + 1)})
"""


def test_processes_that_disagree_end_with_the_same_line(tmp_path):
    """Whatever the lengths of what they have; one that agrees with process 0 does not go on alone."""
    script = tmp_path / "agree.py"
    script.write_text(AGREE.replace("{root!r}", repr(str(ROOT))))
    status, said = ended(begin(2, 1, [script], tmp_path))
    assert status == 2, said
    line = (
        r"error: processes disagree with process 0 on \S+: process 1 on \S+ has seed 1 \(there 0\), name éé \(there é\)"
    )
    assert re.search(f"^{line}", said, re.MULTILINE)


QUICK = """
import os, pathlib, sys, time
mine, here = os.environ["JAX_PROCESS_ID"], pathlib.Path(__file__).parent
print(f"hello from {mine} of {os.environ['JAX_NUM_PROCESSES']}", file=sys.stderr, flush=True)
(here / f"spoke{mine}").touch()
while mine == "2" and not all((here / f"spoke{other}").exists() for other in "01"):
    time.sleep(0.05)
if mine == "2":
    sys.exit(3)
time.sleep(60)
"""


def test_a_second_signal_ends_what_does_not_stop(tmp_path):
    script = tmp_path / "deaf.py"
    script.write_text("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\n"
                      "time.sleep(60)")  # fmt: skip
    running = begin(1, 1, [script], tmp_path, stdout=subprocess.PIPE)
    assert running.stdout.readline() == "up\n"
    running.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    status, said = ended(running)
    assert status == 128 + signal.SIGKILL, said


def test_a_failing_process_is_named_and_ends_the_others(tmp_path):
    """Without JAX: the launcher's own part, and its status is the failure's."""
    script = tmp_path / "quick.py"
    script.write_text(QUICK)
    before = time.monotonic()
    running = begin(3, 1, [script], tmp_path)
    status, said = ended(running)
    assert status == 3 and time.monotonic() - before < 30
    assert re.search(r"error: process 2 of 3 \(pid \d+\) failed with exit status 3; ending the 2 still running", said)
    assert "\nhello from 0 of 3" in f"\n{said}" and "[1] hello from 1 of 3" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes=2"], "no command to run"),
        (["--processes=0", "--", "launch/train.py"], "both are at least 1"),
        (["--", "launch/nothing.py"], "no script launch/nothing.py"),
        (["--nodes=2", "--", "launch/train.py"], "no such flag: --nodes; see --help"),
    ],
)
def test_faults_of_the_command_line_are_one_line(capsys, words, said):
    from launch.local import main

    with pytest.raises(SystemExit) as end:
        main(words)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith("error: ") and said in error and error.count("\n") == 1
