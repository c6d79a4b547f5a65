"""Metrics of a category from margins, maps and masks: what images are ranked by, and what is undefined and why."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from iadgpt_jax.evaluate.measure import (
    IMAGE_METRICS,
    IMAGE_SCORES,
    PIXEL_METRICS,
    TEXT_METRICS,
    Measured,
    Options,
    combine,
    image_scores,
    measure_category,
)
from iadgpt_jax.evaluate.screen import result_lines

SIDE, CELLS = 28, 4
RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 3 > 0
MARGINS = (RNG.normal(size=12) * 5 + LABELS).astype(np.float32)
MAPS = (RNG.random((12, CELLS, CELLS)) * 0.1 + 0.05 * LABELS[:, None, None]).astype(np.float32)
MASKS = np.zeros((12, SIDE, SIDE), np.uint8)
MASKS[LABELS, 5:15, 5:11] = 1
KNOWN = np.ones(12, bool)
FULL = np.stack([cv2.resize(one, (SIDE, SIDE)) for one in MAPS])


def standardised(values):
    return (values - np.mean(values)) / np.std(values)


@pytest.mark.parametrize("kind", IMAGE_SCORES)
def test_images_are_ranked_by_margin_by_the_map_s_maximum_or_by_their_standardised_sum(kind):
    found = measure_category(MARGINS, LABELS, MAPS, MASKS, KNOWN, Options(kind))
    highest = FULL.max(axis=(1, 2)).astype(np.float64)
    expected = {"answer": MARGINS, "map": highest, "both": standardised(MARGINS) + standardised(highest)}[kind]
    assert found.metrics["image_auroc"] == pytest.approx(roc_auc_score(LABELS, expected))
    assert found.metrics["text_accuracy"] == np.mean((MARGINS > 0) == LABELS), "of the answer, whatever ranks images"
    assert found.metrics["pixel_auroc"] == pytest.approx(roc_auc_score(MASKS.ravel(), FULL.ravel()), abs=1e-12)
    assert not found.undefined


def test_a_score_that_is_the_same_for_all_adds_nothing_to_both():
    constant = np.zeros((12, 2, 2))
    np.testing.assert_allclose(image_scores(MARGINS, constant, "both"), standardised(MARGINS.astype(np.float64)))
    with pytest.raises(ValueError, match="choose one of"):
        image_scores(MARGINS, constant, "sum")


def test_smoothing_is_of_the_maps_at_image_size():
    found = measure_category(MARGINS, LABELS, MAPS, MASKS, KNOWN, Options("map", smoothing=2.0))
    smoothed = np.stack([gaussian_filter(one, 2.0) for one in FULL])
    assert found.metrics["pixel_auroc"] == pytest.approx(roc_auc_score(MASKS.ravel(), smoothed.ravel()), abs=1e-6)
    assert found.metrics["image_auroc"] == pytest.approx(roc_auc_score(LABELS, smoothed.max(axis=(1, 2))))


ONE = "it needs both good and defective ones"


@pytest.mark.parametrize(
    ("changed", "undefined"),
    [
        ({"labels": LABELS | True}, dict.fromkeys(IMAGE_METRICS, f"12 of 12 images are defective; {ONE}")),
        ({"masks": 0 * MASKS}, dict.fromkeys(PIXEL_METRICS, "no pixel of any mask is defective")),
        ({"masks": 0 * MASKS + 1}, dict.fromkeys(PIXEL_METRICS, "every pixel is defective")),
        ({"masked": np.arange(12) > 1}, dict.fromkeys(PIXEL_METRICS, "2 of 12 images are defective without a mask")),
        ({"margins": np.where(LABELS, np.nan, MARGINS)},
         dict.fromkeys((*IMAGE_METRICS, *TEXT_METRICS), "8 of 12 scores are not finite")),
        ({"maps": np.where(np.arange(12)[:, None, None] > 10, np.inf, MAPS)},
         dict.fromkeys(PIXEL_METRICS, "784 of 9408 pixels of the maps are not finite")),
    ],
)  # fmt: skip
def test_what_is_undefined_is_named_and_the_rest_is_measured(changed, undefined):
    given = {"margins": MARGINS, "labels": LABELS, "maps": MAPS, "masks": MASKS, "masked": KNOWN}
    everything = measure_category(**given).metrics
    found = measure_category(**given | changed)
    assert found.undefined == undefined
    assert set(found.metrics) == set(everything) - set(undefined)
    assert all(np.isfinite(value) for value in found.metrics.values())


def test_a_metric_that_one_draw_lacks_is_absent_of_its_category_alone():
    whole = {"image_auroc": 0.9, "pixel_auroc": 0.8}
    draws = [{"nut": Measured(dict(whole)), "bolt": Measured(dict(whole))} for _ in range(2)]
    draws[1]["nut"] = Measured({"image_auroc": 0.7}, {"pixel_auroc": "3 of 9 pixels of the maps are not finite"})
    summary, undefined = combine(draws)
    assert undefined == {"nut": {"pixel_auroc": "draw 1: 3 of 9 pixels of the maps are not finite"}}
    assert summary["per_category"] == {"nut": {"image_auroc": pytest.approx(0.8)}, "bolt": whole}
    assert summary["pixel_auroc"] == {"mean": 0.8, "std": 0.0}
    assert summary["image_auroc"] == {"mean": pytest.approx(0.85), "std": pytest.approx(0.05)}


def test_the_screen_names_what_is_undefined():
    reasons = dict.fromkeys(PIXEL_METRICS, "every pixel is defective")
    metrics = {"image_auroc": 0.5, "text_accuracy": 0.25}
    summary = {"per_category": {"nut": metrics}} | {m: {"mean": v, "std": 0.0} for m, v in metrics.items()}
    lines = list(result_lines({
        "dataset_name": "parts", "ratio": 0.2, "references": "own", "trained_on": {}, "image_score": "both",
        "smoothing": 4.0, "shots": {"1": summary}, "undefined": {"nut": reasons, "bolt": reasons},
    }))  # fmt: skip
    assert lines[0] == "parts at ratio 0.2"
    assert "images are ranked by: both" in lines and "maps are smoothed, sigma 4 pixels" in lines
    assert lines[-1] == "undefined, pixel metrics of nut, bolt: every pixel is defective"
    (row,) = (line.split() for line in lines if line.startswith("nut"))
    assert row == ["nut", "0.500", "–", "–", "0.250", "–", "–", "–", "–"]
