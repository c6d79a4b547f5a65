"""The margin of eq. 4 ranks what the probability ties, and another detection prompt is scored with its own polarity."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from iadgpt_jax.checkpoint.load import LoadedModel
from iadgpt_jax.data.detection_prompt import DEFECTS, NORMALITY, AnswerTokens
from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.evaluate.measure import measure
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.inspector import Inspector
from iadgpt_jax.infer.margin import margin_of, probability
from tests.small_iadgpt import draw_image, lively_params, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

ANSWERS = AnswerTokens(normal=2, anomalous=0)


def test_the_margin_is_the_log_odds_of_the_two_answers():
    logits = np.random.default_rng(0).normal(0, 4, (5, 3, 7)).astype(np.float32)
    softmax = np.exp(np.float64(logits)) / np.exp(np.float64(logits)).sum(-1, keepdims=True)
    p = softmax[..., 0] / (softmax[..., 0] + softmax[..., 2])
    margins = margin_of(logits, ANSWERS)
    assert margins.dtype == np.float32
    np.testing.assert_allclose(margins, logit(p), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(jax.jit(margin_of, static_argnums=1)(logits, ANSWERS), margins)
    np.testing.assert_allclose([probability(m) for m in margins.ravel()], p.ravel(), rtol=1e-6)


def test_margins_tell_apart_what_probabilities_in_float32_tie():
    """Logits 18, 22 and 40 above the other answer's: one probability, three margins, in the right order."""
    logits = np.zeros((3, 7), np.float32)
    logits[:, 0] = 18, 22, 40
    assert len(set(expit(logits[:, 0]).tolist())) == 1
    assert margin_of(logits, ANSWERS).tolist() == [18, 22, 40]
    assert probability(-800.0) == 0.0 and probability(800.0) == 1.0


def test_metrics_rank_by_margin():
    """Sure verdicts, all above a margin of 17: ranked perfectly, where their float32 probabilities would tie."""
    labels, margins = [False, False, True, True], [18.0, 20.0, 22.0, 24.0]
    assert roc_auc_score(labels, expit(np.float32(margins))) < 1
    samples = [Sample(np.zeros((2, 2, 3), np.uint8), None, label, "nut", "test", "") for label in labels]
    found = SimpleNamespace(indices=range(4), labels=labels, margins=margins, maps=[])
    assert measure(samples, {"nut": found})["nut"].metrics["image_auroc"] == 1


def test_an_inspection_is_defective_above_a_margin_of_nothing():
    found = Inspection(0.25, np.zeros((1, 1), np.float32), "No", "", (1, 1))
    assert found.defective and found.score == pytest.approx(expit(0.25))
    assert not dataclasses.replace(found, margin=-0.25).defective
    assert not dataclasses.replace(found, margin=0.0).defective, "even odds: the answer is the normal one"


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [draw_image(rng) for _ in range(4)]


def test_a_second_prompt_is_scored_with_its_own_words_and_polarity(pictures):
    """The model carries it, or it is asked for; Yes means anomalous, and maps are read from "defects"."""
    info = {"image_side": len(pictures[0]), "map_space": "probability"}
    model = LoadedModel(lively_params(small_config()), small_config(), tiny_tokenizer(), info, 0)
    carried = dataclasses.replace(model, info=info | {"detection_prompt": DEFECTS.to_dict()})
    results = Inspector(carried).inspect_many(pictures[1:], pictures[:1], explain=False)
    again = Inspector(model, prompt=DEFECTS).inspect_many(pictures[1:], pictures[:1], explain=False)
    turned = dataclasses.replace(DEFECTS, normal_answer="Yes", anomalous_answer="No")
    opposite = Inspector(model, prompt=turned).inspect_many(pictures[1:], pictures[:1], explain=False)
    first = Inspector(model).inspect_many(pictures[1:], pictures[:1], explain=False)
    for one, other, negative, different in zip(results, again, opposite, first, strict=True):
        assert one.margin == other.margin == -negative.margin != 0
        assert one.defective == (one.answer == "Yes") == (one.margin > 0) == (one.score > 0.5)
        assert negative.defective == (negative.answer == "No") != one.defective
        np.testing.assert_array_equal(one.map, other.map)
        assert one.margin != different.margin and not np.allclose(one.map, different.map)
    assert Inspector(model).prompt is NORMALITY
