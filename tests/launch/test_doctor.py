"""iadgpt doctor: what it says of the machine is so, and of what lies in folders."""

import json
import os
from pathlib import Path

import jax
import pytest

from iadgpt_jax import __version__
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from launch import doctor
from tests.data.photographs import draw_dataset
from tests.small_iadgpt import lively_params, small_config


def test_versions_and_devices(capsys):
    doctor.main(["--versions", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["iadgpt"] == __version__ and told["packages"]["jax"] == jax.__version__
    assert len(told["devices"]) == jax.local_device_count() and told["kernels"]["float32"] == "xla"
    assert "missing" not in told


def test_it_finds_data_and_checkpoints_and_says_what_is_missing(tmp_path, capsys, monkeypatch):
    draw_dataset(tmp_path / "deep/data", ("bolt", "nut"))
    save_model(tmp_path / "work", lively_params(small_config()), small_config(), tiny_tokenizer(), {"image_side": 84})
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    (compiled / "program").write_bytes(bytes(3 << 20))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled))
    doctor.main([str(tmp_path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["datasets"] == {str(tmp_path / "deep/data"): "MVTec layout, 2 categories"}
    assert told["checkpoints"] == {str(tmp_path / "work"): 0}
    assert told["compilation_cache"] == {"folder": str(compiled), "mib": 3.0}
    assert any("no accelerator" in line for line in told["missing"])
    doctor.main([str(tmp_path)])
    text = capsys.readouterr().out
    assert f"checkpoint  {tmp_path / 'work'} (step 0)" in text and "3.0 MiB" in text

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    (tmp_path / "empty").mkdir()
    doctor.main([str(tmp_path / "empty"), "--json"])
    missing = " ".join(json.loads(capsys.readouterr().out)["missing"])
    assert "compiled programs are not kept" in missing and "iadgpt quickstart" in missing and "no dataset" in missing


def test_folders_of_others_are_passed_over(tmp_path, monkeypatch):
    """Whatever the rights of the user who tests: one folder cannot be listed, of another the files cannot be read."""
    scandir, is_file = os.scandir, Path.is_file
    draw_dataset(tmp_path / "open", ("bolt",))
    for name in ("closed/within", "listed"):
        (tmp_path / name).mkdir(parents=True)

    def listing(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    def found(path, **more):
        if path.parent.name in ("closed", "listed"):
            raise PermissionError(13, "Permission denied")
        return is_file(path, **more)

    monkeypatch.setattr(os, "scandir", listing)
    monkeypatch.setattr(Path, "is_file", found)
    told = doctor.lying_in([tmp_path])
    assert list(told["datasets"]) == [str(tmp_path / "open")] and not told["checkpoints"]


def test_a_folder_that_is_none_is_one_line(capsys):
    with pytest.raises(SystemExit):
        doctor.main(["nowhere"])
    assert capsys.readouterr().err.startswith("error: no folder nowhere")
