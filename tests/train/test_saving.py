"""Training saves by time as well as by steps, and a full disk leaves the last whole checkpoint and nothing half."""

from __future__ import annotations

import resource

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging

from iadgpt_jax.checkpoint.files import STEPS, finished_steps
from iadgpt_jax.checkpoint.workdir import Checkpoints
from iadgpt_jax.errors import InputError
from iadgpt_jax.train import saving
from iadgpt_jax.train.resume import restore_state
from iadgpt_jax.train.saving import Saver, SaveTimes
from iadgpt_jax.train.state import create

OPTIMIZER = optax.adamw(1e-2)


def state_at(step: int):
    kernel = jax.random.normal(jax.random.key(step), (300, 300))
    return create({"layer": {"kernel": kernel}}, "", OPTIMIZER)._replace(step=jnp.int32(step))


@pytest.fixture
def full_disk():
    """No file of this process may grow past 50 kB while the disk is full: an error from the kernel as a full disk's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)  # as launch/train.py has it: Orbax logs what it also raises

    def full(yes: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000 if yes else soft, hard))

    yield full
    full(False)
    logging.set_verbosity(verbosity)


def left_in(workdir) -> list[str]:
    return sorted(path.name for path in (workdir / STEPS).iterdir())


def test_a_full_disk_leaves_the_last_checkpoint_whole_and_nothing_half(tmp_path, full_disk):
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, keep=1)
    saver = Saver(checkpoints, tmp_path, said.append)
    saver.save(state_at(1), 1)
    saver.finish()
    full_disk(True)
    saver.save(state_at(2), 2)  # in the background: it fails later
    with pytest.raises(InputError, match=rf"{tmp_path} \(File too large\); the last whole one is step 1: make room"):
        saver.save(state_at(3), 3)
    saver.close()
    full_disk(False)
    assert left_in(tmp_path) == ["1"] and "tried again" in " ".join(said)
    with Checkpoints(tmp_path) as again:
        restored, data = restore_state(again, jax.eval_shape(lambda: state_at(1)), "")
    np.testing.assert_array_equal(restored.trained["layer/kernel"], state_at(1).trained["layer/kernel"])
    assert data == 1


def test_where_there_is_room_again_training_goes_on(tmp_path, full_disk):
    said: list[str] = []
    saver = Saver(Checkpoints(tmp_path, keep=2), tmp_path, said.append)
    saver.save(state_at(1), 1)
    saver.finish()
    full_disk(True)
    saver.save(state_at(2), 2)
    begin = saver.checkpoints.save

    def save(*items):  # the disk has room as soon as the failure is known
        try:
            begin(*items)
        finally:
            full_disk(False)

    saver.checkpoints.save = save
    saver.save(state_at(3), 3)
    saver.finish()
    saver.close()
    assert finished_steps(tmp_path) == [1, 3] == [int(name) for name in left_in(tmp_path)]


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path):
    class Broken:
        def wait(self):
            raise ValueError("a bug")

        def look_again(self):
            pass

    with pytest.raises(ValueError, match="a bug"):
        Saver(Broken(), tmp_path, print).finish()


def test_time_passes_until_a_save_is_due(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    times = SaveTimes(2.0)
    for now[0], due in ((60.0, False), (119.0, False), (120.0, True)):
        assert times.due(jnp.float32(0)) == due
    times.saved()
    assert not times.due(jnp.float32(0))
    assert not SaveTimes(0.0).due(jnp.float32(0)), "0: never"


@pytest.mark.parametrize("main", [True, False])
def test_all_processes_learn_of_it_after_the_same_step(monkeypatch, main):
    """Process 0's clock says so at step 2; every process hears it at step 4, whatever its own clock says."""
    now = [0.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(saving, "is_main_process", lambda: main)
    others = iter((0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0))

    def sums(numbers, after):
        return jnp.asarray(numbers + (0 if main else next(others)))

    times = SaveTimes(1.0, sums)
    if not main:
        now[0] = 1000.0  # a clock that has run ahead counts for nothing
    due = []
    for step in range(1, 5):
        now[0] += 0.0 if step == 1 else 60.0
        due.append(times.due(jnp.float32(0)))
    assert due == [False, False, False, True]
    times.saved()
    assert not times.due(jnp.float32(0)), "what was told before the save is forgotten"
