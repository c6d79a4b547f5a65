"""checkpoint/: whatever a user gives opens to the same model, and trees come back from a workdir as they were saved."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from iadgpt_jax.checkpoint.files import find_step, finished_steps, kind_of
from iadgpt_jax.checkpoint.load import open_checkpoint
from iadgpt_jax.checkpoint.workdir import Checkpoints
from iadgpt_jax.convert.shards import Shards
from iadgpt_jax.errors import InputError
from tests.convert.checkpoints import write_checkpoint
from tests.convert.test_convert_hf import run


def test_every_kind_of_path_opens_to_the_same_model(tmp_path):
    """A Hugging Face directory, its import, and the import's only step: configuration, tokenizer, and every leaf as it
    lies on disk."""
    config, params = write_checkpoint(tmp_path / "hf", gates=[0.5, 0, -0.25], dtype="bfloat16")
    run("import", f"--hf={tmp_path / 'hf'}", f"--out={tmp_path / 'run'}")
    step = tmp_path / "run" / "checkpoints" / "0"
    assert [kind_of(path) for path in (tmp_path / "hf", tmp_path / "run", step)] == ["hf", "workdir", "workdir"]
    opened = [open_checkpoint(path) for path in (tmp_path / "hf", tmp_path / "run", step)]
    for one in opened:
        assert (one.config, one.step, one.dtype) == (config, 0, "bfloat16")
        assert one.tokenizer.special == opened[0].tokenizer.special
        leaves = flatten_dict(one.leaves(), sep="/")
        for path, leaf in flatten_dict(params, sep="/").items():
            expected = leaf if path.endswith("gates") else leaf.astype(jnp.bfloat16)
            np.testing.assert_array_equal(np.asarray(leaves[path]), expected)
            first = (slice(0, 1),) * leaf.ndim
            np.testing.assert_array_equal(leaves[path][first], expected[first])


def test_a_hugging_face_directory_is_exported_without_an_import(tmp_path):
    """In another dtype; in the same one every tensor returns bit for bit."""
    write_checkpoint(tmp_path / "hf", dtype="float32")
    run("export", f"--checkpoint={tmp_path / 'hf'}", f"--out={tmp_path / 'same'}")
    run("export", f"--checkpoint={tmp_path / 'hf'}", f"--out={tmp_path / 'half'}", "--dtype=bfloat16")
    before, same, half = (Shards(tmp_path / name) for name in ("hf", "same", "half"))
    assert set(before) == set(same) == set(half)
    for name in before:
        np.testing.assert_array_equal(same[name][:], before[name][:])
        np.testing.assert_array_equal(half[name][:], before[name][:].astype(jnp.bfloat16))


def test_trees_return_as_they_were_saved(tmp_path):
    """Parameters, a training tree of any shape, and where the data goes on; the newest of the steps kept."""
    params = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.ones(4)}
    training = {"step": jnp.int32(7), "optimizer": [jnp.zeros(4), {"count": jnp.int32(3)}]}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (5, 6, 7):
            checkpoints.save(step, jax.tree.map(lambda leaf, step=step: leaf * step, params), training, step + 1)
    assert finished_steps(tmp_path) == [6, 7] and find_step(tmp_path) == (tmp_path, 7)
    abstract = jax.eval_shape(lambda: (params, training))
    with Checkpoints(tmp_path) as checkpoints:
        *trees, data = checkpoints.restore(*abstract)
    assert data == 8
    jax.tree.map(np.testing.assert_array_equal, trees, [jax.tree.map(lambda leaf: leaf * 7, params), training])


def test_a_workdir_without_a_step_says_so(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(InputError, match="holds no finished checkpoint yet"):
        open_checkpoint(tmp_path)
