"""verify: the tiny preset against its own export through the real encoder, prompt and maps; and what it flags."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.evaluate.parity import divergence, load_theirs
from iadgpt_jax.evaluate.parity_dataset import inspect_both
from iadgpt_jax.evaluate.protocol import draw_plans
from iadgpt_jax.models.registry import init_params, preset
from tests.convert.checkpoints import edit_json
from tests.convert.test_convert_hf import run
from tests.convert.test_hf_roundtrip import stock


@functools.cache
def fresh(init):
    """Parameters of the tiny preset, begun as Qwen's ("normal") or as ours ("compare")."""
    config, quick = dataclasses.replace(preset("tiny"), init=init), {"xla_backend_optimization_level": 0}
    return jax.device_get(jax.jit(lambda: init_params(config, jax.random.key(1)), compiler_options=quick)())


def tiny_checkpoint(root, positions, gates=(0, 0, 0), init="compare"):
    """A fresh tiny IADGPT as checkpoint `run` and as export `hf`."""
    config = dataclasses.replace(preset("tiny"), positions=positions)
    vision = fresh(init)["vision"] | {"fusion": {"gates": np.array(gates, np.float32)}}
    params = fresh(init) | {"vision": vision}
    save_model(root / "run", params, config, tiny_tokenizer(), {"stage": 3, "image_side": 112})
    export_hf(params, config, root / "run" / "tokenizer", root / "hf")


@pytest.mark.parametrize(("init", "bound"), [("normal", 1e-4), ("compare", 3e-4)])
def test_tiny_with_gates_at_zero_is_stock(tmp_path, capsys, init, bound):
    """Features, logits, score and map equal transformers' on images and text, in float32.

    The start that compares has logits beyond ±10 and attention so sharp that rounding (1e-6 of a logit per layer and
    tower) reaches 1.4e-4; its bound is twice that.
    """
    tiny_checkpoint(tmp_path, "qwen", init=init)
    assert stock(tmp_path / "hf")[1] == {}
    run("verify", f"--checkpoint={tmp_path / 'run'}", f"--hf={tmp_path / 'hf'}", f"--out={tmp_path / 'report.json'}")
    assert "within tolerance" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["within_tolerance"] and report["note"] == ""
    assert report["logits"]["max_abs"] <= bound and report["logits"]["top1"] == 1
    assert report["features"]["max_abs"] <= 1e-4 and report["score"]["max_abs"] <= 1e-5
    assert 0 < report["map"]["max_abs"] <= 1e-6


@pytest.mark.parametrize(("positions", "gates"), [("aligned", (0, 0, 0)), ("qwen", (0.5, 0, 0))])
def test_the_twin_reproduces_what_stock_does_not(tmp_path, capsys, positions, gates):
    tiny_checkpoint(tmp_path, positions, gates)
    run("verify", f"--checkpoint={tmp_path / 'run'}", f"--hf={tmp_path / 'hf'}")
    printed = capsys.readouterr().out
    assert "\nwithin tolerance" in printed and "note" not in printed
    edit_json(tmp_path / "hf" / "config.json", lambda values: values.pop("auto_map"))  # now it is read as stock
    with pytest.raises(SystemExit) as stop:
        run("verify", f"--checkpoint={tmp_path / 'run'}", f"--hf={tmp_path / 'hf'}")
    assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert "OUT OF TOLERANCE" in printed and "note: stock transformers loads this checkpoint but" in printed


def test_a_dataset_is_inspected_by_both(tmp_path):
    """The figures are those of the two sides' own inspections, the AUROC scikit-learn's."""
    tiny_checkpoint(tmp_path, "aligned", (0, 0, 0))
    model = load_model(tmp_path / "run")
    export_hf(model.params, model.config, tmp_path / "run" / "tokenizer", tmp_path / "trained", info=model.info)
    twin = load_theirs(tmp_path / "trained")
    source = open_source("procedural:held_out", side=None)
    found = inspect_both(model, twin, source, shots=1, categories=["held_out_disc_0001"])
    assert found["score.max_abs"] <= 1e-5 and found["margin.max_abs"] <= 4e-5 and found["map.max_abs"] <= 1e-4
    (plan,) = draw_plans(source, (1,), 0, 0, categories=["held_out_disc_0001"])
    samples = [source[i] for i in plan.queries]
    theirs = twin.inspect_many([s.image for s in samples], [source[plan.references[0]].image], explain=False)
    auroc = roc_auc_score([s.defective for s in samples], [one.margin for one in theirs])
    assert found["image_auroc.theirs"] == pytest.approx(auroc, abs=1e-9)
    assert 0 < found["pixel_auroc.ours"] < 1


def test_verify_names_what_is_missing(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        run("verify", f"--checkpoint={tmp_path / 'run'}", f"--hf={tmp_path / 'empty'}")
    assert stop.value.code == 2
    assert "no Hugging Face directory" in capsys.readouterr().err


def test_divergence_by_hand():
    p, q = np.array([[0.0, np.log(3)]]), np.array([[0.0, 0.0]])
    np.testing.assert_allclose(divergence(p, q), [0.25 * np.log(0.5) + 0.75 * np.log(1.5)])
    assert divergence(p, p) == 0
