"""Image metrics equal scikit-learn and naive loops on random draws, ties included; their mean over draws."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from iadgpt_jax.evaluate.metrics import Undefined, image_metrics, roc_curve, smooth, summarize


def draw(seed: int, size, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know something about the labels; with ties, only a handful of distinct values."""
    rng = np.random.default_rng(seed)
    labels = rng.random(size) < rng.uniform(0.1, 0.9)
    labels.flat[0], labels.flat[-1] = True, False
    scores = rng.normal(size=size) + labels * rng.uniform(-0.5, 2)
    return (np.round(scores) if ties else scores).astype(np.float32), labels


def naive_f1_max(scores, labels):
    best = 0.0
    for threshold in np.unique(scores):
        called = scores >= threshold
        true = (called & labels).sum()
        precision, recall = true / called.sum(), true / labels.sum()
        if true:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_image_metrics_equal_scikit_learn(seed, ties):
    scores, labels = draw(seed, 3 + 7 * seed, ties)
    metrics = image_metrics(scores, labels)
    assert metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics["image_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert metrics["image_f1_max"] == pytest.approx(f1.max(), abs=1e-12)
    assert metrics["image_f1_max"] == pytest.approx(naive_f1_max(scores, labels), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_curve_equals_scikit_learn(ties):
    scores, labels = draw(5, 60, ties)
    false, true, _ = sklearn_roc_curve(labels, scores, drop_intermediate=False)
    ours = roc_curve(scores, labels)
    np.testing.assert_allclose(ours[0], false, atol=1e-12)
    np.testing.assert_allclose(ours[1], true, atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_is_refused_in_one_line(labels):
    with pytest.raises(Undefined, match="both good and defective") as error:
        image_metrics(np.arange(3.0), np.array(labels, bool))
    assert "\n" not in str(error.value)


def test_wrong_input_is_refused():
    for value in (np.nan, np.inf):
        with pytest.raises(Undefined, match="1 of 2 scores are not finite"):
            image_metrics(np.array([0.1, value]), np.array([True, False]))
    with pytest.raises(Undefined, match="no images"):
        image_metrics(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ValueError, match="2 scores for 3 labels"):
        image_metrics(np.zeros(2), np.array([True, False, True]))


def test_summary_is_the_mean_over_categories_then_mean_and_std_over_draws():
    draws = [
        {"nut": {"image_auroc": 0.9, "pixel_auroc": 0.8}, "tile": {"image_auroc": 0.7}},
        {"nut": {"image_auroc": 1.0, "pixel_auroc": 0.6}, "tile": {"image_auroc": 0.8}},
    ]
    summary = summarize(draws)
    assert summary["image_auroc"] == {"mean": pytest.approx(0.85), "std": pytest.approx(0.05)}
    assert summary["pixel_auroc"] == {"mean": pytest.approx(0.7), "std": pytest.approx(0.1)}
    assert summary["per_category"] == {
        "nut": {"image_auroc": pytest.approx(0.95), "pixel_auroc": pytest.approx(0.7)},
        "tile": {"image_auroc": pytest.approx(0.75)},
    }
    with pytest.raises(ValueError, match="draw 1 .* pixel_auroc of category 'nut'"):
        summarize([draws[0], {"nut": {"image_auroc": 1.0}, "tile": {"image_auroc": 1.0}}])


def test_smoothing_is_off_at_zero_and_blurs_each_map_alone():
    maps = np.zeros((2, 21, 21), np.float32)
    maps[0, 10, 10] = 1
    assert smooth(maps, 0) is maps
    blurred = smooth(maps, 2.0)
    assert blurred[1].max() == 0
    distance = 3
    assert blurred[0, 10, 10 + distance] / blurred[0, 10, 10] == pytest.approx(np.exp(-(distance**2) / 8), rel=1e-3)
