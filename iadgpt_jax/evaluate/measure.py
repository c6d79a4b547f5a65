"""Metrics of a category from margins, maps and masks: what is defined of them, and why the rest is not.

Images are ranked by their margin, by the maximum of their map, or by both; pixels by maps upsampled bilinearly to the
masks' resolution. No model is needed, and nothing here imports JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate.metrics import Undefined, image_metrics, smooth, summarize
from iadgpt_jax.evaluate.pixels import pixel_metrics

ANSWER, MAP, BOTH = "answer", "map", "both"
IMAGE_SCORES = (ANSWER, MAP, BOTH)
IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro")
TEXT_METRICS = ("text_accuracy",)


@dataclass(frozen=True)
class Options:
    """What metrics depend on beside raw results. image_score: what images are ranked by, see `image_scores`. smoothing:
    sigma in pixels of a Gaussian over upsampled maps; 0: none."""

    image_score: str = ANSWER
    smoothing: float = 0.0


@dataclass
class Measured:
    """metrics: name to value; undefined: name to why it has none."""

    metrics: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    def take(self, names: Sequence[str], measure: Callable[[], Mapping[str, float]]) -> None:
        """What `measure` returns, or why metrics of these names are undefined."""
        try:
            self.metrics |= measure()
        except Undefined as error:
            self.undefined |= dict.fromkeys(names, str(error))


def measure_category(
    margins: np.ndarray,
    labels: np.ndarray,
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    masked: np.ndarray,
    options: Options = Options(),
) -> Measured:
    """The metrics of one category at one shot count.

    Args:
      margins, labels: float[n] and bool[n]. maps: n × float[h, w] on the token grid. masks: n × uint8[H, W].
      masked: bool[n]; False: defective, but nobody drew where.
    """
    found = Measured()
    full = Upsampled(maps, masks, options.smoothing)
    found.take(IMAGE_METRICS, lambda: image_metrics(image_scores(margins, full, options.image_score), labels))
    found.take(TEXT_METRICS, lambda: {"text_accuracy": text_accuracy(margins, labels)})
    found.take(PIXEL_METRICS, lambda: pixel_metrics(full, known(masks, masked)))
    return found


def image_scores(margins: np.ndarray, maps: Sequence[np.ndarray], kind: str) -> np.ndarray:
    """float[n], what images are ranked by.

    ANSWER: the margin, log-odds of the answer that means defective. MAP: the maximum of the map. BOTH: their sum, each
    standardised over the category's queries (mean 0, standard deviation 1), because one is a log-odds and the other a
    share of attention; one that is the same for all queries adds nothing. ("Their mean" is what the field fuses with,
    where both are probabilities.)
    """
    if kind not in IMAGE_SCORES:
        raise ValueError(f"image score {kind!r}: choose one of {IMAGE_SCORES}")
    if kind == ANSWER:
        return np.asarray(margins)
    highest = np.array([np.max(one) for one in maps], np.float64)
    return highest if kind == MAP else _standardised(margins) + _standardised(highest)


def text_accuracy(margins: np.ndarray, labels: np.ndarray) -> float:
    """The share of queries whose answer in words, of the two that the prompt offers the likelier, is right."""
    margins = np.asarray(margins)
    if not margins.size:
        raise Undefined("no images")
    if not np.isfinite(margins).all():
        raise Undefined(f"{int((~np.isfinite(margins)).sum())} of {margins.size} scores are not finite")
    return float(np.mean((margins > 0) == np.asarray(labels)))


def known(masks: Sequence[np.ndarray], masked: np.ndarray) -> Sequence[np.ndarray]:
    """The masks, if all are known. Raises Undefined otherwise: pixels of a defect that nobody drew are not good."""
    if len(masked) and not np.all(masked):
        raise Undefined(f"{int(np.sum(~np.asarray(masked)))} of {len(masked)} images are defective without a mask")
    return masks


class Upsampled(Sequence[np.ndarray]):
    """Maps at their masks' resolution, float32[H, W] each, smoothed where a sigma is given; made when asked for."""

    def __init__(self, maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], sigma: float = 0.0):
        self._maps, self._masks, self._sigma = maps, masks, sigma

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index):
        shape = self._masks[index].shape
        return smooth(upsample(np.asarray(self._maps[index]), shape)[None], self._sigma)[0]


def upsample(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """float[h, w] -> float32[shape], bilinear with half-pixel centres as in training."""
    return cv2.resize(cells.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def measure(source: Source, scored: Mapping) -> dict[str, Measured]:
    """{category: …} of scores in memory: {category: scoring.CategoryScores}."""
    found = {}
    for name, scores in scored.items():
        samples = [source[i] for i in scores.indices]
        masked = np.array([sample.mask is not None for sample in samples])
        masks = [np.zeros(one.image.shape[:2], np.uint8) if one.mask is None else one.mask for one in samples]
        found[name] = measure_category(np.array(scores.margins), np.array(scores.labels), scores.maps, masks, masked)
    return found


def combine(per_draw: Sequence[Mapping[str, Measured]]) -> tuple[dict, dict[str, dict[str, str]]]:
    """(what `metrics.summarize` says of the metrics that every draw has, {category: {metric: why it is undefined}})."""
    undefined: dict[str, dict[str, str]] = {}
    for number, draw in enumerate(per_draw):
        for category, found in draw.items():
            for metric, why in found.undefined.items():
                told = f"draw {number}: {why}" if _differs(per_draw, category, metric) else why
                undefined.setdefault(category, {}).setdefault(metric, told)
    kept = [
        {
            category: {m: value for m, value in found.metrics.items() if m not in undefined.get(category, ())}
            for category, found in draw.items()
        }
        for draw in per_draw
    ]
    return summarize(kept), undefined


def _differs(per_draw: Sequence[Mapping[str, Measured]], category: str, metric: str) -> bool:
    return len({draw[category].undefined.get(metric) for draw in per_draw}) > 1


def _standardised(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
