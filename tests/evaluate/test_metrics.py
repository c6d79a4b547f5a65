"""Metrics equal scikit-learn, naive loops and adeval on random draws, ties included."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from iadgpt_jax.evaluate.metrics import image_metrics, pixel_metrics, roc_curve, smooth, summarize


def draw(seed: int, size, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know something about the labels; with ties, only a handful of distinct values."""
    rng = np.random.default_rng(seed)
    labels = rng.random(size) < rng.uniform(0.1, 0.9)
    labels.flat[0], labels.flat[-1] = True, False
    scores = rng.normal(size=size) + labels * rng.uniform(-0.5, 2)
    return (np.round(scores) if ties else scores).astype(np.float32), labels


def maps_with_regions(seed: int, count=6, side=40, ties=False) -> tuple[np.ndarray, np.ndarray]:
    """Maps and masks with a few regions of different sizes; a third of the images are good."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), np.uint8)
    for image in range(count - count // 3):
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, side - 12, 2)
            masks[image, y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = 255
    maps = rng.normal(size=masks.shape) + (masks > 0) * rng.normal(1.5, 1, (count, 1, 1))
    maps = np.round(maps * 2) if ties else maps
    return maps.astype(np.float32), masks


def naive_f1_max(scores, labels):
    best = 0.0
    for threshold in np.unique(scores):
        called = scores >= threshold
        true = (called & labels).sum()
        precision, recall = true / called.sum(), true / labels.sum()
        if true:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


def naive_regions(mask):
    """8-connected components by flood fill, written without the library the implementation uses."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            front.extend(around)
        regions.append(tuple(np.array(sorted(region)).T))
    return regions


def naive_aupro(maps, masks, limit=0.3):
    regions = [m[r] for m, mask in zip(maps, masks, strict=True) for r in naive_regions(mask)]
    good = maps[masks == 0]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        points.append(((good >= threshold).mean(), np.mean([(region >= threshold).mean() for region in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 >= limit or x1 == x0:
            continue
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


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
@pytest.mark.parametrize("seed", range(4))
def test_pixel_metrics_equal_scikit_learn(seed, ties):
    maps, masks = maps_with_regions(seed, ties=ties)
    scores, labels = maps.ravel(), masks.ravel() > 0
    metrics = pixel_metrics(maps, masks, full=True)
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert metrics["pixel_f1_max"] == pytest.approx(
        (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max(), abs=1e-12
    )
    assert pixel_metrics(maps, masks) == {"pixel_auroc": metrics["pixel_auroc"]}
    assert pixel_metrics(list(maps), list(masks), full=True) == metrics


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_aupro_equals_a_naive_loop(seed, ties):
    maps, masks = maps_with_regions(seed, count=3, side=20, ties=ties)
    if ties:  # every region touches the limit somewhere inside a tie
        assert np.unique(maps).size < 30
    assert pixel_metrics(maps, masks, full=True)["pixel_aupro"] == pytest.approx(naive_aupro(maps, masks), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_aupro_agrees_with_adeval(seed, monkeypatch):
    # adeval still calls numpy.trapz, which numpy 2.4 dropped.
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    pytest.importorskip(
        "adeval", reason="adeval is absent (it drags in desktop OpenCV); the naive loop checks AUPRO too"
    )
    from adeval.au_pro import calculate_au_pro

    maps, masks = maps_with_regions(seed)
    peer, _ = calculate_au_pro(list((masks > 0).astype(int)), list(maps), num_thresholds=int((masks == 0).sum()))
    # adeval puts its thresholds on good pixels only and joins the tops of the steps, where the exact curve climbs each
    # step upright: too large by less than one good pixel's width, 1 / 9,000 of the rate, times the climb of at most 1.
    width = 1 / int((masks == 0).sum())
    excess = peer - pixel_metrics(maps, masks, full=True)["pixel_aupro"]
    assert -1e-9 <= excess <= width / 0.3


def test_perfect_and_useless_maps():
    _, masks = maps_with_regions(0)
    perfect = pixel_metrics(masks.astype(np.float32), masks, full=True)
    assert perfect == {"pixel_auroc": 1.0, "pixel_ap": 1.0, "pixel_f1_max": 1.0, "pixel_aupro": pytest.approx(1.0)}
    constant = pixel_metrics(np.zeros(masks.shape, np.float32), masks, full=True)
    assert constant["pixel_auroc"] == 0.5
    assert constant["pixel_aupro"] == pytest.approx(0.15)  # the diagonal: ½ · 0.3² / 0.3


def test_an_affine_map_of_the_scores_changes_no_metric():
    maps, masks = maps_with_regions(3)
    scaled = maps.astype(np.float64) * 4 - 8
    assert pixel_metrics(scaled, masks, full=True) == pixel_metrics(maps.astype(np.float64), masks, full=True)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_curve_equals_scikit_learn(ties):
    scores, labels = draw(5, 60, ties)
    false, true, _ = sklearn_roc_curve(labels, scores, drop_intermediate=False)
    ours = roc_curve(scores, labels)
    np.testing.assert_allclose(ours[0], false, atol=1e-12)
    np.testing.assert_allclose(ours[1], true, atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_is_refused_in_one_line(labels):
    with pytest.raises(ValueError, match="both good and defective") as error:
        image_metrics(np.arange(3.0), np.array(labels, bool))
    assert "\n" not in str(error.value)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        image_metrics(np.array([0.1, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="2 scores for 3 labels"):
        image_metrics(np.zeros(2), np.array([True, False, True]))
    with pytest.raises(ValueError, match="differ in number or size"):
        pixel_metrics(np.zeros((2, 8, 8)), np.zeros((2, 4, 4), np.uint8))


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


def test_pixel_auroc_of_a_category_takes_milliseconds():
    maps, masks = maps_with_regions(0, count=24, side=112)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        pixel_metrics(maps, masks)
        times.append(time.perf_counter() - start)
    # 32 categories × 20 settings should take about 15 s; the margin is for shared machines.
    assert min(times) < 0.1
