"""Exact pixel metrics in bounded memory: those of scikit-learn, naive loops and adeval, also on degenerate maps."""

import time
import tracemalloc

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from iadgpt_jax.evaluate import pixels
from iadgpt_jax.evaluate.metrics import Undefined
from iadgpt_jax.evaluate.pixels import pixel_metrics


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
@pytest.mark.parametrize("seed", range(4))
def test_pixel_metrics_equal_scikit_learn(seed, ties):
    maps, masks = maps_with_regions(seed, ties=ties)
    scores, labels = maps.ravel(), masks.ravel() > 0
    metrics = pixel_metrics(maps, masks)
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert metrics["pixel_f1_max"] == pytest.approx(
        (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max(), abs=1e-12
    )
    assert pixel_metrics(list(maps), list(masks)) == metrics


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_aupro_equals_a_naive_loop(seed, ties):
    maps, masks = maps_with_regions(seed, count=3, side=20, ties=ties)
    if ties:  # every region touches the limit somewhere inside a tie
        assert np.unique(maps).size < 30
    assert pixel_metrics(maps, masks)["pixel_aupro"] == pytest.approx(naive_aupro(maps, masks), abs=1e-12)


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
    excess = peer - pixel_metrics(maps, masks)["pixel_aupro"]
    assert -1e-9 <= excess <= width / 0.3


def test_perfect_and_useless_maps():
    _, masks = maps_with_regions(0)
    perfect = pixel_metrics(masks.astype(np.float32), masks)
    assert perfect == {"pixel_auroc": 1.0, "pixel_ap": 1.0, "pixel_f1_max": 1.0, "pixel_aupro": pytest.approx(1.0)}
    constant = pixel_metrics(np.zeros(masks.shape, np.float32), masks)
    assert constant["pixel_auroc"] == 0.5
    assert constant["pixel_aupro"] == pytest.approx(0.15)  # the diagonal: ½ · 0.3² / 0.3


def test_an_affine_map_of_the_scores_changes_no_metric():
    maps, masks = maps_with_regions(3)
    scaled = maps.astype(np.float64) * 4 - 8
    assert pixel_metrics(scaled, masks) == pixel_metrics(maps.astype(np.float64), masks)


def test_pixel_auroc_of_a_category_takes_milliseconds():
    maps, masks = maps_with_regions(0, count=24, side=112)
    times = []
    for _ in range(5):
        start = time.process_time()
        pixel_metrics(maps, masks)
        times.append(time.process_time() - start)
    # Of CPU: 32 categories × 20 settings should take about 15 s; the margin is for slower machines.
    assert min(times) < 0.1


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("most, chunk", [(1, 1), (7, 100), (100, 5000), (1 << 22, 1)])
def test_passes_over_ranges_of_values_and_chunks_change_nothing(monkeypatch, ties, most, chunk):
    """As if memory held so few values of defective pixels, and so few pixels of the background, at once."""
    maps, masks = maps_with_regions(5, count=3, side=24, ties=ties)
    expected = pixel_metrics(maps, masks)
    monkeypatch.setattr(pixels, "CHUNK", (chunk, chunk))
    found = pixel_metrics(maps, masks, most_values=most)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found["pixel_auroc"] == expected["pixel_auroc"], "pairs are counted in whole numbers"


def one_region(side=8):
    mask = np.zeros((2, side, side), np.uint8)
    mask[0, 2:4, 2:5] = 1
    return mask


DEGENERATE = {
    "constant": np.zeros((2, 8, 8)),
    "two values, apart": one_region() * 1.0,
    "two values, reversed": one_region() * -1.0,
    "only one pixel differs": np.eye(1, 128).reshape(2, 8, 8),
    "signed zeros": np.where(np.arange(128).reshape(2, 8, 8) % 2, 0.0, -0.0),
    "tiny and huge": np.random.default_rng(0).normal(size=(2, 8, 8)) * 10.0 ** np.arange(-38, 26, 8)[:, None],
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("most", [1, 1 << 22])
def test_degenerate_maps_have_the_values_of_scikit_learn_and_of_the_naive_loop(name, most):
    maps, masks = DEGENERATE[name].astype(np.float32), one_region()
    found = pixel_metrics(maps, masks, most_values=most)
    labels, scores = masks.ravel() > 0, maps.ravel()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert found["pixel_f1_max"] == pytest.approx(
        (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max(), abs=1e-12
    )
    assert found["pixel_aupro"] == pytest.approx(naive_aupro(maps, masks), abs=1e-12)


def test_what_has_no_value_says_why():
    maps, masks = np.zeros((2, 8, 8), np.float32), one_region()
    for changed, told in (
        ((maps, 0 * masks), "no pixel of any mask is defective"),
        ((maps, 0 * masks + 1), "every pixel is defective"),
        ((maps[:0], masks[:0]), "no pixel of any mask is defective"),
        ((maps + np.where(masks, np.nan, 0), masks), "6 of 128 pixels of the maps are not finite"),
        ((maps - np.where(masks, 0, np.inf), masks), "122 of 128 pixels of the maps are not finite"),
    ):
        with pytest.raises(Undefined, match=told):
            pixel_metrics(*changed)
    with pytest.raises(ValueError, match="differ in number or size"):
        pixel_metrics(np.zeros((2, 8, 8)), np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="differ in number"):
        pixel_metrics(maps, masks[:1])


class Made:
    """Maps or masks that exist only while they are looked at."""

    def __init__(self, count, make):
        self.count, self.make = count, make

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return self.make(index)


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch):
    """400 images, 26 MB of maps, of which 3 MB at most are held."""
    cells = np.random.default_rng(0).normal(size=(400, 8, 8)).astype(np.float32)
    mask = np.zeros((128, 128), np.uint8)
    mask[30:60, 30:60] = 1
    maps = Made(400, lambda i: cv2.resize(cells[i], (128, 128)))
    masks = Made(400, lambda i: mask if i % 10 == 0 else 0 * mask)
    monkeypatch.setattr(pixels, "CHUNK", (1 << 16, 1 << 16))
    pixel_metrics(Made(2, maps.make), Made(2, masks.make))  # what is imported and started once
    tracemalloc.start()
    pixel_metrics(maps, masks, most_values=1 << 14)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6
