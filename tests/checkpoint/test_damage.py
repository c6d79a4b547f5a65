"""A damaged checkpoint is never loaded: the step before it is used, which is said, or there is one line."""

from __future__ import annotations

import contextlib
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import (
    DATA,
    TRAINING,
    Checkpoints,
    read_model_files,
    save_model,
    write_model_files,
)
from iadgpt_jax.convert.stored import PARAMS, open_params
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.digests import DIGESTS, damage
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import init_params
from tests.small_iadgpt import small_config
from tools.reliability.damaging import flip

KEYS = jax.random.split(jax.random.key(0), 3)
TREE = {f"block{i}": {"kernel": jax.random.normal(key, (24, 24))} for i, key in enumerate(KEYS)}


def trees(step):
    params = jax.tree.map(lambda leaf: leaf * step, TREE)
    return params, {"step": jnp.int32(step), "moments": jax.tree.map(lambda leaf: leaf + 1, params)}


ABSTRACT = jax.eval_shape(lambda: trees(1))


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    with Checkpoints(workdir) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, *trees(step), step)
    return workdir


@pytest.fixture
def workdir(two_steps, tmp_path):
    return shutil.copytree(two_steps, tmp_path / "run")


def files_of(workdir, step):
    """All files of a step that hold values or say where those lie; Orbax's empty mark of completion does neither."""
    folder = workdir / "checkpoints" / str(step)
    found = (path for item in (PARAMS, TRAINING, DATA) for path in (folder / item).rglob("*"))
    return sorted(path for path in found if path.is_file() and path.name != "commit_success.txt")


def largest(workdir, step, item):
    return max((path for path in files_of(workdir, step) if item in path.parts), key=lambda path: path.stat().st_size)


def test_a_bit_flipped_anywhere_is_found(workdir):
    """300 places, in every file of a step."""
    rng, step = random.Random(0), workdir / "checkpoints" / "2"
    files = [path for path in files_of(workdir, 2) if path.name != DIGESTS and path.stat().st_size]
    for _ in range(300):
        path = rng.choice(files)
        bit = rng.randrange(8 * path.stat().st_size)
        flip(path, bit)
        assert any(damage(step / item) for item in (PARAMS, TRAINING, DATA)), path
        flip(path, bit)
    assert not any(damage(step / item) for item in (PARAMS, TRAINING, DATA))


@pytest.mark.parametrize("item", [PARAMS, TRAINING, DATA])
def test_training_goes_on_from_the_step_before_a_damaged_one(item, workdir, capsys):
    flip(largest(workdir, 2, item), 99)
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.latest() == 1
        *found, data = checkpoints.restore(*ABSTRACT)
        jax.tree.map(np.testing.assert_array_equal, found, list(trees(1)))
        assert data == 1
        checkpoints.save(2, *trees(2), 2)  # the step that was damaged is reached again, and saved
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "step 2" in said and "step 1" in said
    with Checkpoints(workdir) as checkpoints:
        *found, data = checkpoints.restore(*ABSTRACT)
    jax.tree.map(np.testing.assert_array_equal, found, list(trees(2)))
    assert (workdir / "checkpoints" / "2.damaged").is_dir()  # nobody's work is deleted
    assert capsys.readouterr().err == ""


def test_a_step_that_lacks_a_file_counts_as_damaged(workdir):
    largest(workdir, 2, PARAMS).unlink()
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.latest() == 1


def test_nothing_whole_left_is_one_line_and_nothing_is_touched(workdir):
    for step in (1, 2):
        flip(largest(workdir, step, PARAMS), 99)
    before = sorted(workdir.rglob("*"))
    with pytest.raises(InputError, match=r"none of its steps is whole.*2.*1") as error:
        Checkpoints(workdir)
    assert "\n" not in str(error.value) and sorted(workdir.rglob("*")) == before


def test_a_step_from_before_there_were_checksums_loads_with_a_word(workdir, capsys):
    for path in (workdir / "checkpoints").rglob(DIGESTS):
        path.unlink()
    with Checkpoints(workdir) as checkpoints:
        assert checkpoints.restore(*ABSTRACT)[-1] == 2
    assert "without checksums" in capsys.readouterr().err


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    config, tokenizer = small_config(), tiny_tokenizer()
    directory = tmp_path_factory.mktemp("model")
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    save_model(directory, zeros, config, tokenizer, {"stage": 1})
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(3, jax.tree.map(lambda leaf: leaf + 1, zeros))
    return directory


@pytest.fixture
def model(saved_model, tmp_path):
    return shutil.copytree(saved_model, tmp_path / "model")


def test_inspection_uses_the_step_before_a_damaged_one(model, capsys):
    flip(largest(model, 3, PARAMS), 12345)
    assert load_model(model).step == 0
    assert "step 3" in capsys.readouterr().err
    with pytest.raises(InputError, match="step 3 .* is damaged"):  # who names a step gets that one or none
        load_model(model / "checkpoints" / "3")
    assert (model / "checkpoints" / "3").is_dir()  # reading moves nothing


def test_an_imported_model_that_is_damaged_is_one_line(model):
    shutil.rmtree(model / "checkpoints" / "3")
    flip(largest(model, 0, PARAMS), 12345)
    with pytest.raises(InputError, match="none of its steps is whole"):
        load_model(model)


@pytest.mark.parametrize("name", ["_METADATA", "_sharding", "process_0", "manifest.ocdbt"])
def test_whatever_orbax_raises_is_one_line(name, workdir):
    """Of steps without checksums: Orbax, TensorStore and JSON raise errors of many classes."""
    step = workdir / "checkpoints" / "2" / PARAMS
    (step / DIGESTS).unlink()
    for text in ("[]", "{", '{"a": 5}', "\xe1"):
        for path in step.rglob(name):
            path.write_text(text, encoding="latin-1")
        with Checkpoints(workdir, read_only=True) as checkpoints, contextlib.suppress(InputError):
            checkpoints.restore_params(2, ABSTRACT[0])
        with contextlib.suppress(InputError):
            open_params(step.parent)


def test_a_bit_flipped_in_the_models_card_or_tokenizer_is_one_line(tmp_path):
    """100 places: a digit of the image's side, a letter of a word."""
    config, tokenizer, info = small_config(), tiny_tokenizer(), {"stage": 1, "image_side": 448}
    write_model_files(tmp_path, config, tokenizer, info)
    rng = random.Random(0)
    for path, times in ((tmp_path / "model.json", 80), (tmp_path / "tokenizer" / "tokenizer.json", 20)):
        whole = path.read_bytes()
        for _ in range(times):
            flip(path, rng.randrange(8 * len(whole)))
            try:
                found, _, said = read_model_files(tmp_path)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert path.name == "model.json" and (found, said) == (config, info)  # a blank
            path.write_bytes(whole)
    assert read_model_files(tmp_path)[::2] == (config, info)
