"""A workdir in a bucket holds what one in a folder holds: steps that are whole or not there, checksums, and a lock.

On an emulator of Google Cloud Storage. It does not refuse to create an object that is there, so that two processes
that take a free lock at the same moment are not tried here.
"""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.bucket_files import check_writable, file_system, listing, place
from iadgpt_jax.checkpoint import lock as locks
from iadgpt_jax.checkpoint.files import COMMITTED, STEPS, finished_steps, kind_of
from iadgpt_jax.checkpoint.identity import checkpoint_identity
from iadgpt_jax.checkpoint.load import load_model, open_checkpoint
from iadgpt_jax.checkpoint.lock import Lock
from iadgpt_jax.checkpoint.whole import newest_whole
from iadgpt_jax.checkpoint.workdir import Checkpoints, save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.train import lines
from iadgpt_jax.train.lines import lines_at
from tests.emulated_bucket import emulated_bucket
from tests.small_iadgpt import lively_params, small_config


@pytest.fixture(scope="module")
def bucket():
    with emulated_bucket() as name:
        yield name


@pytest.fixture(autouse=True)
def no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir()), "nothing is written beside the bucket"


def tree(step: int) -> dict:
    return {"layer": {"kernel": jax.random.normal(jax.random.key(step), (64, 48))}}


ABSTRACT = jax.eval_shape(lambda: tree(0))


def saved(workdir: str, *steps: int) -> None:
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step in steps:
            checkpoints.save(step, tree(step), {"step": jnp.int32(step)}, step)


def restored(workdir: str) -> int:
    """The step that is restored, bit for bit as it was saved."""
    with Checkpoints(workdir, read_only=True) as checkpoints:
        params, training, data = checkpoints.restore(ABSTRACT, {"step": jnp.int32(0)}, newest_whole(workdir))
    np.testing.assert_array_equal(params["layer"]["kernel"], tree(data)["layer"]["kernel"])
    assert int(training["step"]) == data
    return data


def test_steps_come_and_go_and_are_restored_bit_for_bit(bucket):
    workdir = f"{bucket}/steps"
    saved(workdir, 1, 2, 3)
    assert finished_steps(workdir) == [2, 3] and restored(workdir) == 3


def test_a_step_without_its_last_object_is_none_and_is_saved_again(bucket):
    """What a kill in the middle of a save leaves: every object, but not the one that is written at the end."""
    workdir = f"{bucket}/killed"
    saved(workdir, 1, 2)
    file_system(workdir).rm_file(f"{workdir}/{STEPS}/2/{COMMITTED}")
    assert finished_steps(workdir) == [1] and restored(workdir) == 1
    saved(workdir, 2)
    assert finished_steps(workdir) == [1, 2] and restored(workdir) == 2


def test_a_changed_object_is_found_and_the_step_before_is_used(bucket, capsys):
    workdir = f"{bucket}/damaged"
    saved(workdir, 1, 2)
    step = f"{workdir}/{STEPS}/2/params"
    largest = max(listing(step).items(), key=lambda item: item[1].bytes)[0]
    content = bytearray(file_system(step).cat_file(f"{step}/{largest}"))
    content[len(content) // 2] ^= 1
    file_system(step).pipe_file(f"{step}/{largest}", bytes(content))
    assert restored(workdir) == 1
    assert f"step 2 of {workdir} is damaged (params: {largest} has changed" in capsys.readouterr().err
    saved(workdir, 3)  # which sets it aside
    assert finished_steps(workdir) == [1, 3] and restored(workdir) == 3
    assert listing(f"{workdir}/{STEPS}/2.damaged")


def test_a_model_is_loaded_from_a_bucket_as_from_a_folder(bucket, tmp_path_factory):
    here, there = str(tmp_path_factory.mktemp("model")), f"{bucket}/model"
    params = lively_params(small_config())
    for workdir in (here, there):
        save_model(workdir, params, small_config(), tiny_tokenizer(), {"image_side": 56})
    assert kind_of(there) == "workdir"
    ours, theirs = load_model(there), load_model(here)
    assert ours.info == theirs.info and ours.config == theirs.config
    assert ours.tokenizer.encode("a scratch") == theirs.tokenizer.encode("a scratch")
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    opened = open_checkpoint(f"{there}/{STEPS}/0").checked()
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(np.asarray(one), other), opened.leaves(), params)
    before = checkpoint_identity(opened.directory, 0)
    save_model(f"{bucket}/other", lively_params(small_config(), seed=1), small_config(), tiny_tokenizer(), {})
    assert before == checkpoint_identity(place(there), 0) != checkpoint_identity(place(f"{bucket}/other"), 0)


def test_what_is_no_checkpoint_or_cannot_be_reached_is_one_line(bucket):
    with pytest.raises(InputError, match=f"no checkpoint at {bucket}/none"):
        kind_of(f"{bucket}/none")
    with pytest.raises(InputError, match=r"gs://no-bucket/run cannot be reached .*check its name"):
        check_writable("gs://no-bucket/run")
    check_writable(f"{bucket}/new")
    with pytest.raises(InputError, match="s3://a-bucket/x is in a bucket"):
        kind_of("s3://a-bucket/x")


def test_a_lock_holds_and_a_dead_ones_is_taken_over(bucket, monkeypatch, capsys):
    for name, seconds in {"BEAT": 0.2, "STALE": 2.0, "SETTLED": 0.1, "WATCH": 0.1}.items():
        monkeypatch.setattr(locks, name, seconds)
    folder = f"{bucket}/locked"
    mine = Lock(folder)
    mine.take()
    path = f"{folder}/{locks.FILE}"
    told = json.loads(file_system(path).cat_file(path))
    with pytest.raises(InputError, match=f"{folder} is in use by process {told['process']} on "):
        Lock(folder).take()
    mine.release()
    assert locks.read(place(path)) is None

    for gone in ({"started": "1"}, {"host": "elsewhere"}):  # known to be gone; never touched again
        file_system(path).pipe_file(path, json.dumps(told | gone).encode())
        Lock(folder).take()
        assert "taken over" in capsys.readouterr().err
    file_system(path).pipe_file(path, json.dumps(told | {"host": "elsewhere"}).encode())
    lost = Lock(folder)
    lost.mine["token"] = "another"
    with pytest.raises(InputError, match="was taken over by process"):
        lost.check()


def test_a_lock_of_another_host_that_is_touched_is_not_taken_over(bucket, monkeypatch):
    for name, seconds in {"BEAT": 0.2, "STALE": 5.0, "WATCH": 0.1}.items():
        monkeypatch.setattr(locks, name, seconds)
    folder = f"{bucket}/busy"
    holder = Lock(folder)
    holder.mine["host"] = "elsewhere"
    holder.take()
    with pytest.raises(InputError, match="is in use by process .* on elsewhere"):
        Lock(folder).take()
    holder.release()


def test_lines_are_written_whole_every_while(bucket, monkeypatch):
    path = place(f"{bucket}/log/metrics.jsonl")
    said: list[str] = []
    log = lines_at(path, 0, said.append)
    log.write({"step": 1, "loss": float("nan")})
    assert not path.exists(), "not at once"
    log.flush()
    assert path.read_text() == '{"step": 1, "loss": null}\n'
    monkeypatch.setattr(lines, "EVERY", 0.0)
    for step in (2, 3):
        log.write({"step": step})
    log.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
    path.write_text(path.read_text() + "damaged\n")
    log = lines_at(path, 2, said.append)
    log.write({"step": 3, "again": 1})
    log.close()
    assert path.read_text().splitlines()[1:] == ['{"step": 2}', '{"step": 3, "again": 1}']
    assert said == [f"warning: 1 lines of {path} are damaged and left out"]
