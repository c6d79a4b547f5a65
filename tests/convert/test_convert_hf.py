"""tools/convert_hf.py: import and export through a checkpoint on disk, and what it says when the input is at fault."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.sharding import make_mesh
from tests.convert.checkpoints import fitted_small, random_params, write_checkpoint
from tests.convert.test_hf_roundtrip import files_of, same_bits, stock
from tools.convert_hf import main


def run(*arguments):
    main([str(argument) for argument in arguments])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_import_then_export_returns_every_file(tmp_path, dtype, capsys):
    """Weights bit for bit, configuration, tokenizer and templates byte for byte; the model card tells the new story."""
    write_checkpoint(tmp_path / "hf", dtype=dtype)
    run("import", f"--hf={tmp_path / 'hf'}", f"--out={tmp_path / 'run'}")
    loaded = load_model(tmp_path / "run")
    same_bits(loaded.params, open_hf(tmp_path / "hf").params(np.float32))
    assert loaded.info["stage"] == 0 and loaded.info["imported_from"] == "hf"
    run("export", f"--checkpoint={tmp_path / 'run'}", f"--out={tmp_path / 'back'}", "--stock")
    before, after = files_of(tmp_path / "hf"), files_of(tmp_path / "back")
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= {"README.md", "config.json"}
    assert "Imported from hf." in after["README.md"].decode()
    assert "stock transformers computes exactly this model" in capsys.readouterr().out
    _, info = stock(tmp_path / "back")
    assert info == {}
    assert {path.name for path in tmp_path.iterdir()} == {"hf", "run", "back", "tokenizer"}


def test_a_trained_model_exports_with_a_note(tmp_path, capsys):
    write_checkpoint(tmp_path / "hf", gates=[0.1, 0, 0])
    run("import", f"--hf={tmp_path / 'hf'}", f"--out={tmp_path / 'run'}")
    with pytest.raises(SystemExit) as stop:
        run("export", f"--checkpoint={tmp_path / 'run'}", f"--out={tmp_path / 'back'}", "--stock")
    assert stop.value.code == 2 and not (tmp_path / "back").exists()
    assert "error: the fusion gates are 0.1, 0, 0, not 0" in capsys.readouterr().err
    run("export", f"--checkpoint={tmp_path / 'run'}", f"--out={tmp_path / 'back'}")
    assert "note: stock transformers loads this checkpoint but will not reproduce" in capsys.readouterr().out
    same_bits(open_hf(tmp_path / "back").params(), open_hf(tmp_path / "hf").params())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "--hf={0}/nothing", "--out={0}/run"], "no directory"),
        (["import", "--hf={0}/hf", "--out={0}/hf"], "exists already"),
        (["export", "--checkpoint={0}/nothing", "--out={0}/back"], "no checkpoint at"),
        (["export", "--checkpoint={0}", "--out={0}/back"], "is no checkpoint"),
    ],
)
def test_faulty_input_is_one_line_and_leaves_nothing(tmp_path, capsys, arguments, said):
    write_checkpoint(tmp_path / "hf")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        run(*(argument.format(tmp_path) for argument in arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_training_starts_from_an_import_on_any_mesh(tmp_path):
    """The imported checkpoint restores onto eight devices under FSDP and tensor parallelism with the real rules."""
    config, tokenizer = fitted_small(
        vision=dict(width=32, mlp=48, out=64), language=dict(width=64, mlp=64, heads=4, mrope_section=(2, 3, 3))
    )
    tokenizer.save(tmp_path / "tokenizer")
    params = random_params(config)
    export_hf(params, config, tmp_path / "tokenizer", tmp_path / "hf")
    run("import", f"--hf={tmp_path / 'hf'}", f"--out={tmp_path / 'run'}")
    loaded = load_model(tmp_path / "run", make_mesh(data=1, fsdp=4, tensor=2))
    same_bits(loaded.params, params)
    kernel = loaded.params["language"]["groups"]["plain"]["mlp"]["gate"]["kernel"]
    assert len({str(shard.index) for shard in kernel.addressable_shards}) == 8


def test_placing_tells_what_lies_on_each_device(tmp_path, capsys):
    """On the eight fake devices of the tests, split by FSDP alone, every device holds an eighth of what is split."""
    language = dict(width=64, mlp=64, heads=4, mrope_section=(2, 3, 3))
    write_checkpoint(tmp_path / "hf", vision=dict(width=32, mlp=48, out=64), language=language)
    run("place", f"--hf={tmp_path / 'hf'}")
    told = capsys.readouterr().out
    assert "as float32 on data=1 × fsdp=8 × tensor=1" in told and "peak memory" in told
    assert "GiB here" in told and "beyond them at most" in told
    with pytest.raises(SystemExit):
        run("place", f"--hf={tmp_path / 'hf'}", "--fsdp=3")
    assert "does not cover 8 devices" in capsys.readouterr().err
