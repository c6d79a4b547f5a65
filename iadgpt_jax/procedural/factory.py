"""The factory: designs × photographs of them, every image a pure function of (seed, split, category, instance).

Rendered pictures are remembered: 38 kB each at 112 pixels, 480 MB for the default 800 categories × 16.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from iadgpt_jax.procedural import noise
from iadgpt_jax.procedural.camera import Shot
from iadgpt_jax.procedural.defects import MARKS, PART_KINDS
from iadgpt_jax.procedural.design import Alteration, Design, family_of
from iadgpt_jax.procedural.facts import Facts, facts

_VISIBLE = 0.06  # a pixel is defective where a channel changes by more than this share of the range
_SMALL = 0.08  # share of deliberately small defects
_NORMAL_AREA, _NORMAL_CONTRAST = (0.015, 0.20), 0.18
_SMALL_AREA, _SMALL_CONTRAST = (0.0012, 0.012), 0.20
_ATTEMPTS = 10


@dataclass(frozen=True)
class Pair:
    """One photograph with and without its defect: uint8[H, W, 3] each; `mask` uint8[H, W]; `kind` of defect or None."""

    without: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    kind: str | None


def defect_mask(without: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, float]:
    """(uint8[H, W] in {0, 1}: visible change grown by one pixel, mean contrast of the visible change in [0, 1])."""
    change = cv2.absdiff(without, image)
    change = cv2.max(cv2.max(change[..., 0], change[..., 1]), change[..., 2])
    seen = (change > _VISIBLE * 255).astype(np.uint8)
    count = int(np.count_nonzero(seen))
    contrast = float(change[seen > 0].mean()) / 255 if count else 0.0
    return cv2.dilate(seen, np.ones((3, 3), np.uint8)), contrast


def render(design: Design, instance: int, defective: bool, side: int) -> Pair:
    """Photographs one instance of a design, with a defect drawn until its size and contrast are within bounds."""
    rng = noise.generator(*design.key, 4, instance)
    shot = Shot.draw(rng, side, design.side)
    tolerance = instance + 1
    canvas = design.paint(tolerance)
    without = shot.photograph(canvas)
    if not defective:
        return Pair(without, without, np.zeros((side, side), np.uint8), None)
    small = rng.random() < _SMALL
    (low, high), contrast_floor = (_SMALL_AREA, _SMALL_CONTRAST) if small else (_NORMAL_AREA, _NORMAL_CONTRAST)
    kinds = [kind for kind in design.kinds() if not (small and kind in (*PART_KINDS, "bend"))]
    kind = kinds[rng.integers(len(kinds))]
    size, strength = float(rng.uniform(0.05, 0.12) if small else rng.uniform(0.35, 1.0)), float(rng.uniform(0.55, 1))
    for attempt in range(2 * _ATTEMPTS):
        if attempt == _ATTEMPTS // 2 and kind in PART_KINDS or attempt == _ATTEMPTS:  # fall back to a plain spot
            kind, size, strength = "hole", 0.12 if small else 0.5, 1.0
        if kind in PART_KINDS:
            changed = design.paint(tolerance, Alteration.draw(rng, kind, design.layers, size))
        else:
            changed = canvas.copy()
            MARKS[kind](changed, design.site, rng, size, strength)
        image = shot.photograph(changed)
        mask, contrast = defect_mask(without, image)
        area = float(mask.mean())
        if low <= area <= high and contrast >= contrast_floor:
            return Pair(without, image, mask, kind)
        if area < low:
            size = min(size * 1.3, 1.2)
        elif area > high:
            size *= 0.75
        if contrast < contrast_floor:
            strength = min(1.0, strength * 1.3)
    raise RuntimeError(
        f"procedural category {design.key} instance {instance}: no visible defect found in {2 * _ATTEMPTS} tries; "
        "widen the area or contrast bounds in procedural/factory.py"
    )


@dataclass(frozen=True)
class Piece:
    """A photographed piece: image uint8[H, W, 3], read-only; mask uint8[H, W] in {0, 1}, all zero on a good one.

    instance: its number within the category; captions: (shape, material and structure, surface) of the category;
    defect: what is known of its defect, None on a good one.
    """

    image: np.ndarray
    mask: np.ndarray
    category: str
    instance: int
    defective: bool
    captions: tuple[str, str, str]
    defect: Facts | None


class Factory:
    """`categories` designs × (`normal` good + `defective` bad) photographs of `side` pixels, made on demand and kept.

    Index = category · (normal + defective) + j, good ones first. `split` is "train", or "held_out" for designs no
    training split of any size shares, a quarter of them from families that never train. `names`: of the categories.

    Raises:
      ValueError: another split.
    """

    def __init__(
        self,
        seed: int,
        split: str = "train",
        categories: int = 800,
        normal: int = 8,
        defective: int = 8,
        side: int = 112,
    ):
        if split not in ("train", "held_out"):
            raise ValueError(f'procedural products: split must be "train" or "held_out", not {split!r}')
        self.seed, self.split, self.side = seed, split, side
        self.categories, self.normal, self.defective = categories, normal, defective
        self.per_category = normal + defective
        mark = "" if split == "train" else "held_out_"
        self.names = tuple(f"{mark}{family_of(split, c)}_{c:04d}" for c in range(categories))
        self._pixels: dict[int, tuple[np.ndarray, np.ndarray | None, str | None]] = {}
        self._captions: dict[int, tuple[str, str, str]] = {}
        self._materials: dict[int, str] = {}

    def __len__(self) -> int:
        return self.categories * self.per_category

    def __getitem__(self, index: int) -> Piece:
        if not 0 <= index < len(self):
            raise IndexError(f"procedural products, {self.split}: index {index} is outside 0..{len(self) - 1}")
        category, instance = divmod(index, self.per_category)
        if index not in self._pixels:
            design = self.design(category)
            pair = render(design, _instance_key(instance, self.normal), instance >= self.normal, self.side)
            self._remember(index, design.captions, design.product.material, pair)
        image, mask, kind = self._pixels[index]
        return Piece(
            image=image,
            mask=np.zeros(image.shape[:2], np.uint8)
            if mask is None
            else np.unpackbits(mask)[: self.side**2].reshape(image.shape[:2]),
            category=self.names[category],
            instance=instance,
            defective=instance >= self.normal,
            captions=self._captions[category],
            defect=None if kind is None else facts(kind, self._materials[category]),
        )

    def pair(self, index: int) -> Pair:
        """The photograph at `index` with and without its defect (rendered afresh)."""
        category, instance = divmod(index, self.per_category)
        return render(self.design(category), _instance_key(instance, self.normal), instance >= self.normal, self.side)

    def design(self, category: int) -> Design:
        """The design of a category: its family, words and fixed marks."""
        return _design(self.seed, self.split, category, 2 * self.side)

    def prepare(self, workers: int = 2, progress: Callable[[int, int], None] | None = None) -> None:
        """Renders all now, in `workers` processes (in this one if ≤ 1); `progress` gets (categories done, of)."""
        missing = [
            c
            for c in range(self.categories)
            if any(c * self.per_category + j not in self._pixels for j in range(self.per_category))
        ]
        jobs = [(self.seed, self.split, c, self.normal, self.defective, self.side) for c in missing]
        if workers <= 1:
            for done, job in enumerate(jobs, 1):
                self._take(_render_category(job))
                if progress:
                    progress(done, len(jobs))
            return
        context = multiprocessing.get_context("spawn")  # fork is unsafe beside JAX's threads
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
            for done, result in enumerate(pool.map(_render_category, jobs, chunksize=4), 1):
                self._take(result)
                if progress:
                    progress(done, len(jobs))

    def _take(self, result: _Rendered) -> None:
        for j, pair in enumerate(result.pairs):
            self._remember(result.category * self.per_category + j, result.captions, result.material, pair)

    def _remember(self, index: int, captions: tuple[str, str, str], material: str, pair: Pair) -> None:
        category = index // self.per_category
        self._captions[category], self._materials[category] = captions, material
        pair.image.flags.writeable = False  # every reader gets this very array
        self._pixels[index] = (pair.image, np.packbits(pair.mask) if pair.kind else None, pair.kind)


@dataclass(frozen=True)
class _Rendered:
    category: int
    captions: tuple[str, str, str]
    material: str
    pairs: list[Pair]


def _instance_key(instance: int, normal: int) -> int:
    """Good ones take even keys, defective ones odd keys: asking for more of one changes none of the other."""
    return 2 * instance if instance < normal else 2 * (instance - normal) + 1


@lru_cache(maxsize=4)
def _design(seed: int, split: str, category: int, side: int) -> Design:
    return Design(seed, split, category, side)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _render_category(job: tuple[int, str, int, int, int, int]) -> _Rendered:
    seed, split, category, normal, defective, side = job
    design = Design(seed, split, category, 2 * side)
    pairs = []
    for j in range(normal + defective):
        pair = render(design, _instance_key(j, normal), j >= normal, side)
        pairs.append(Pair(pair.image, pair.image, pair.mask, pair.kind))
    return _Rendered(category, design.captions, design.product.material, pairs)
