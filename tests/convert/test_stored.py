"""Parameters written and read a chunk at a time: ordinary checkpoints, whatever their chunks, within bounded memory."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import save_model, write_model_files
from iadgpt_jax.convert import stored
from iadgpt_jax.convert.axes import Axes, copy_into
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.convert.memory import Work
from iadgpt_jax.convert.shards import Shards
from iadgpt_jax.convert.stored import Pending, chunks_of, open_params, write_params
from iadgpt_jax.convert.tree import pending_params
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import logical_axes
from iadgpt_jax.sharding import ShardingRules, make_mesh, tree_shardings
from tests.convert.checkpoints import fitted_small, random_params, write_checkpoint
from tests.convert.test_convert_hf import run
from tests.convert.test_hf_roundtrip import files_of, same_bits
from tools import random_checkpoint

SHARDABLE = dict(
    vision=dict(width=32, mlp=48, out=64), language=dict(width=64, mlp=64, heads=4, mrope_section=(2, 3, 3))
)  # fmt: skip


def test_chunks_are_cut_by_block_and_by_bytes(tmp_path, monkeypatch):
    """A stacked leaf has a chunk per block, a large one several; all of them read back as they were."""
    monkeypatch.setattr(stored, "CHUNK_BYTES", 1 << 20)
    rng = np.random.default_rng(0)
    shapes = {"stack": (2, 3, 8, 5), "large": (600, 1000), "one": (7,)}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    asked: dict[str, list] = {name: [] for name in values}

    def leaf(name):
        def read(index):
            asked[name].append(index)
            return values[name][index]

        return Pending(values[name].shape, np.dtype(np.float32), 2 if name == "stack" else 0, read)

    told = []
    write_params(tmp_path, {"a": {name: leaf(name) for name in values}}, lambda *progress: told.append(progress))
    assert len(asked["stack"]) == 6 and len(asked["large"]) == 4 and len(asked["one"]) == 1
    total = sum(value.nbytes for value in values.values())
    assert told[-1] == (total, total) and [done for done, _ in told] == sorted(done for done, _ in told)
    for name, leaf in open_params(tmp_path / "0")["a"].items():
        assert leaf.shape == values[name].shape and leaf.dtype == np.float32
        np.testing.assert_array_equal(np.asarray(leaf), values[name])
        assert len(list(leaf.chunks())) == len(asked[name])
        for index in leaf.chunks():
            np.testing.assert_array_equal(leaf[index], values[name][index])


def test_an_import_is_a_checkpoint_like_any_other(tmp_path):
    """Orbax restores what was streamed exactly as what it saved itself, onto one device and onto eight."""
    config, params = write_checkpoint(tmp_path / "hf", **SHARDABLE)
    hf = open_hf(tmp_path / "hf")
    _, tokenizer = fitted_small(**SHARDABLE)
    write_model_files(tmp_path / "streamed", config, tokenizer, {})
    write_params(tmp_path / "streamed" / "checkpoints", hf.pending())
    save_model(tmp_path / "saved", params, config, tokenizer, {})
    for mesh in (None, make_mesh(data=1, fsdp=4, tensor=2)):
        one, other = (load_model(tmp_path / name, mesh).params for name in ("streamed", "saved"))
        same_bits(one, other)
        assert jax.tree.map(lambda x: x.sharding, one) == jax.tree.map(lambda x: x.sharding, other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_of_eight_devices_is_exported_shard_by_shard(tmp_path, dtype):
    """Chunks that cut across heads, widths and vocabulary arrive in the same files as whole arrays do."""
    config, tokenizer = fitted_small(**SHARDABLE)
    params = random_params(config)
    params["vision"]["fusion"]["gates"] = np.array([0.5, 0, -0.25], np.float32)
    mesh = make_mesh(data=1, fsdp=4, tensor=2)
    sharded = jax.device_put(params, tree_shardings(mesh, ShardingRules(), logical_axes(config), params))
    for name, tree in (("one", params), ("eight", sharded)):
        save_model(tmp_path / name / "run", tree, config, tokenizer, {})
        run("export", f"--checkpoint={tmp_path / name / 'run'}", f"--out={tmp_path / name / 'hf'}", f"--dtype={dtype}")
    leaves = flatten_dict(open_params(tmp_path / "eight" / "run" / "checkpoints" / "0"), sep="/")
    assert sum(len(list(leaf.chunks())) > 1 for leaf in leaves.values()) > 20
    assert files_of(tmp_path / "one" / "hf") == files_of(tmp_path / "eight" / "hf")


def test_writing_a_slice_reverses_reading_it():
    """All kinds of axes, cut at random: slices written one by one give the tensor whose slices were read."""
    rng = np.random.default_rng(1)
    sizes = {"heads": 4, "head": 3, "embed": 10, "three": 3}
    for text in ("(heads head) embed -> embed heads head", "(three heads head) -> three heads head",
                 "(three heads head) embed -> embed three heads head", "embed (heads head) -> heads head embed",
                 "heads embed -> embed heads", "embed -> embed"):  # fmt: skip
        axes = Axes.parse(text, sizes)
        tensor = rng.normal(size=axes.hf_shape).astype(np.float32)
        back = np.zeros_like(tensor)
        cuts = [sorted({0, length, *rng.integers(0, length, 2).tolist()}) for length in axes.shape]
        for spans in itertools.product(*(itertools.pairwise(cut) for cut in cuts)):
            index = tuple(slice(*span) for span in spans)
            axes.write(back, index, axes.from_hf(tensor)[index])
        np.testing.assert_array_equal(back, tensor)


def test_transposed_copies_are_copies():
    rng = np.random.default_rng(2)
    for shape, axes in (((300, 700), (1, 0)), ((5, 300, 290), (2, 0, 1)), ((300, 3, 290), (0, 2, 1)), ((9,), (0,))):
        for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
            values = rng.normal(size=shape).astype(dtype).transpose(axes)
            target = np.zeros(values.shape, np.float32)
            copy_into(target, values)
            np.testing.assert_array_equal(target, values)
            half = np.zeros(values.shape, np.float16)
            copy_into(half, values)
            np.testing.assert_array_equal(half, values.astype(np.float16))
    assert [index[0] for index in chunks_of((5,), (2,))] == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_a_damaged_step_is_one_clear_line(tmp_path):
    config, tokenizer = fitted_small()
    save_model(tmp_path / "run", random_params(config), config, tokenizer, {})
    with pytest.raises(InputError, match="parameters in .*3 cannot be read"):
        open_params(tmp_path / "run" / "checkpoints" / "3")
    (tmp_path / "run" / "checkpoints" / "0" / "params" / "manifest.ocdbt").unlink()
    with pytest.raises(InputError, match="parameters in .*0 cannot be read"):
        open_params(tmp_path / "run" / "checkpoints" / "0")


def test_work_sees_what_was_held_for_a_moment():
    with Work() as work:
        before = work.peak_bytes
        block = np.ones(40 << 20, np.uint8)
        np.sort(block)  # long enough to be seen, and a second copy
    assert work.peak_bytes - before >= 60 << 20
    assert work.seconds > 0 and "peak memory" in work.summary(10**6)


def test_random_checkpoints_of_one_seed_are_equal_and_return_bit_for_bit(tmp_path, capsys):
    """The tool, and the command that measures a whole conversion, on the tiny shape."""
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        random_checkpoint.main(["--size=tiny", f"--out={tmp_path / name}", f"--seed={seed}", "--shard_bytes=1000000"])
    one, same, other = (files_of(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same and one.keys() == other.keys() and one != other
    assert len(list((tmp_path / "one").glob("*.safetensors"))) > 2
    hf = open_hf(tmp_path / "one")
    for path, leaf in flatten_dict(hf.params(np.float32), sep="/").items():
        level = 1.5 if "norm" in path and "scale" in path else 0
        assert abs(leaf.mean() - level) < 0.1 and np.isfinite(leaf).all()
    capsys.readouterr()
    run("roundtrip", f"--hf={tmp_path / 'one'}", f"--work={tmp_path / 'work'}")
    told = capsys.readouterr().out
    assert told.count("peak memory") == 2 and f"{len(hf.shards)} tensors return bit for bit" in told


def test_conversion_holds_a_fraction_of_the_model(tmp_path):
    """In a process of its own: how memory is handed out depends on what other tests have used and freed."""
    code = (
        "import pathlib; from tests.convert.test_stored import convert_within_half; "
        f"convert_within_half(pathlib.Path({str(tmp_path)!r}))"
    )
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def convert_within_half(tmp_path):
    """A model of 200 MB goes in and out with less than half of it in memory, chunks being small here. A small one goes
    first: what imports and Orbax's threads take is no part of it."""
    stored.CHUNK_BYTES = 8 << 20
    there_and_back(tmp_path / "first", *fitted_small())
    config, tokenizer = fitted_small(
        vision=dict(out=512), language=dict(width=512, mlp=8192, heads=4, mrope_section=(16, 24, 24))
    )
    shards, size, taken = there_and_back(tmp_path, config, tokenizer)
    assert size > 190e6
    assert taken < size / 2
    names = [name for name in shards if "mlp" in name]
    back = Shards(tmp_path / "back")
    assert all(np.array_equal(shards[name][:], back[name][:]) for name in names[::5])


def there_and_back(tmp_path, config, tokenizer) -> tuple[Shards, int, int]:
    """A random model in the hub's layout is imported and exported: (it, its bytes, bytes of memory this took)."""
    (tmp_path / "hf").mkdir(parents=True)
    random_checkpoint.write_weights(config, tmp_path / "hf", np.dtype(np.float16), 0, 10**9)
    shards = Shards(tmp_path / "hf")
    size = sum(file.stat().st_size for file in shards.files)
    gc.collect()  # what earlier tests left is no part of it
    with Work() as work:
        before = work.peak_bytes
        write_model_files(tmp_path / "run", config, tokenizer, {})
        write_params(tmp_path / "run" / "checkpoints", pending_params(config, shards, np.float16))
        step, tokenizer_directory = tmp_path / "run" / "checkpoints" / "0", tmp_path / "run" / "tokenizer"
        export_hf(open_params(step), config, tokenizer_directory, tmp_path / "back")
    return shards, size, work.peak_bytes - before
