"""A design is one product as its maker wants it: a family's layers on a background, with its fixed marks.

The fixed marks come from the generators that also make defects, so that a mark alone says nothing: only other
examples of the product tell whether it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from iadgpt_jax.procedural import captions, defects, families, noise, palette, patterns, shapes
from iadgpt_jax.procedural.canvas import Canvas, Layer
from iadgpt_jax.procedural.defects import Site
from iadgpt_jax.procedural.palette import Colour
from iadgpt_jax.procedural.product import Product

_TRAIN, _HELD_OUT = 1, 2  # streams of the random keys


def family_of(split: str, category: int) -> str:
    """The family of a category: they take turns; every fourth held-out one is of a family never trained on."""
    trained, unseen = tuple(families.TRAINED), tuple(families.UNSEEN)
    if split == "train":
        return trained[category % len(trained)]
    if category % 4 == 0:
        return unseen[category // 4 % len(unseen)]
    return trained[(category - category // 4 - 1) * 5 % len(trained)]


@dataclass(frozen=True)
class Alteration:
    """A part left out (`kind` "missing part"), displaced ("moved part") or of another colour ("wrong colour")."""

    kind: str
    part: int
    shift: tuple[float, float] = (0, 0)
    angle: float = 0
    colour: Colour = (0, 0, 0)

    @staticmethod
    def draw(rng: np.random.Generator, kind: str, layers: tuple[Layer, ...], size: float) -> Alteration:
        """Picks a part and what happens to it."""
        parts = sorted(
            {layer.part for layer in layers if layer.part is not None and not (kind == "wrong colour" and layer.cut)}
        )
        part = parts[rng.integers(len(parts))]
        own = next(layer for layer in layers if layer.part == part)
        distance, direction = rng.uniform(0.1, 0.18) * (0.6 + size), rng.uniform(0, 2 * np.pi)
        shift = (distance * float(np.cos(direction)), distance * float(np.sin(direction)))
        colour = palette.draw(rng, palette.ANY, own.colour)[1]
        return Alteration(kind, part, shift, rng.normal(0, 0.5), colour)

    def apply(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """The layers with the part altered."""
        own = [layer for layer in layers if layer.part == self.part]
        points = np.concatenate([o for layer in own for o in layer.outlines])
        about = shapes.centre(points)
        result, first = [], True
        for layer in layers:
            if layer.part != self.part:
                result.append(layer)
            elif self.kind == "moved part":
                result.append(layer.moved(*self.shift, self.angle, about))
            elif self.kind == "wrong colour":
                result.append(replace(layer, colour=self.colour, pattern=None) if first else layer)
                first = False
        return tuple(result)


@dataclass(frozen=True)
class FixedMark:
    """A surface mark that belongs to the design, redrawn from the same key on every instance."""

    kind: str
    key: tuple[int, ...]
    size: float
    strength: float

    def draw(self, rgb: np.ndarray, site: Site) -> None:
        defects.MARKS[self.kind](rgb, site, noise.generator(*self.key), self.size, self.strength)


class Design:
    """Everything about one category. A pure function of (seed, split, category, S)."""

    def __init__(self, seed: int, split: str, category: int, side: int):
        stream = _TRAIN if split == "train" else _HELD_OUT
        self.key = (seed, stream, category)
        self.side = side
        self.family = family_of(split, category)
        rng = noise.generator(*self.key, 0)
        family = families.TRAINED.get(self.family) or families.UNSEEN[self.family]
        self.product: Product = family(rng)
        self.layers = self.product.layers
        self.background = self.product.background or _table(rng, self.product.colour)
        self.varies = any(layer.pattern is not None for layer in self.layers)
        self.parts = len({layer.part for layer in self.layers if layer.part is not None})
        self.marks: list[FixedMark] = []
        self._still: np.ndarray | None = None

        places: list[tuple[str, float, float]] = []
        wanted = int(rng.choice((0, 1, 2, 3), p=(0.15, 0.35, 0.35, 0.15)))
        canvas = self._canvas(self.layers, 0)
        if wanted and self.parts >= 3 and rng.random() < 0.35:
            kind = defects.PART_KINDS[rng.integers(3)]
            if kind in self.kinds():
                changed = Alteration.draw(rng, kind, self.layers, 0.5).apply(self.layers)
                before, canvas = canvas, self._canvas(changed, 0)
                at = _centre_of_change(before.rgb, canvas.rgb)
                if at is not None:
                    self.layers = changed
                    self.parts -= kind == "missing part"
                    places.append((kind, *at))
                    wanted -= 1
                else:
                    canvas = before
        self._bare = Site.of(canvas.product, canvas.rgb, canvas.background)  # fixed marks never see one another
        surface_kinds = [kind for kind in self.kinds() if kind in defects.MARKS]
        picture = canvas.rgb
        for k in range(wanted):
            kind = surface_kinds[rng.integers(len(surface_kinds))]
            for attempt in range(4):
                key = (*self.key, 1, k, attempt)
                mark = FixedMark(kind, key, float(rng.uniform(0.25, 0.6)), float(rng.uniform(0.6, 1)))
                marked = picture.copy()
                mark.draw(marked, self._bare)
                at = _centre_of_change(picture, marked)
                if at is not None:
                    self.marks.append(mark)
                    places.append((kind, *at))
                    picture = marked
                    break
        self.site = replace(self._bare, clean=picture)
        if not self.varies:
            self._still = picture
        self.captions = captions.captions(self.product, places)
        self.fixed_marks = len(places)

    def kinds(self) -> tuple[str, ...]:
        """The defect kinds that make sense on this product."""
        names = [*defects.MARKS, *(defects.PART_KINDS if self.parts >= 1 else ())]
        drop = set(self.product.without)
        if not any(layer.part is not None and not layer.cut for layer in self.layers):
            drop.add("wrong colour")
        return tuple(name for name in names if name not in drop)

    def _canvas(self, layers: tuple[Layer, ...], tolerance: int) -> Canvas:
        rng = noise.generator(*self.key, 2, tolerance)
        canvas = Canvas(self.background(self.side, noise.generator(*self.key, 3)))
        for layer in layers:
            canvas.lay(layer, rng)
        return canvas

    def paint(self, tolerance: int, alteration: Alteration | None = None) -> np.ndarray:
        """uint8[S, S, 3]: the upright product; `tolerance` picks the piece where nature varies (grain, weave)."""
        still = not self.varies and alteration is None
        if still and self._still is not None:
            return self._still
        layers = self.layers if alteration is None else alteration.apply(self.layers)
        rgb = self._canvas(layers, tolerance if self.varies else 0).rgb
        for mark in self.marks:
            mark.draw(rgb, self._bare)
        if still:
            self._still = rgb
        return rgb


def _centre_of_change(before: np.ndarray, after: np.ndarray) -> tuple[float, float] | None:
    """Where two pictures differ, in the unit frame; None unless the change can be seen and is not the whole picture."""
    change = cv2.absdiff(before, after).max(axis=2) > 25
    share = change.mean()
    if not 0.003 < share < 0.15:
        return None
    rows, columns = np.nonzero(change)
    side = len(before)
    return float(columns.mean() + 0.5) * 2 / side - 1, float(rows.mean() + 0.5) * 2 / side - 1


def _table(rng: np.random.Generator, product: Colour) -> patterns.Pattern:
    """A background that shows the product: plain, a ruled mat, a ribbed belt, a wooden bench."""
    _, colour = palette.draw(rng, ("white", "beige", "grey", "black", "blue", "green", "teal", "brown"), product)
    kind = int(rng.integers(6))
    if kind == 0:
        return patterns.ruled(
            colour,
            palette.mix(colour, (255, 255, 255) if palette.luminance(colour) < 0.5 else (0, 0, 0), 0.2),
            rng.uniform(0.2, 0.4),
        )
    if kind == 1:
        return patterns.ribbed(colour, rng.uniform(0.1, 0.25), 0.1, float(rng.choice((0, np.pi / 2, 0.785))))
    if kind == 2:
        _, timber = palette.draw(rng, ("beige", "brown", "grey"), product)
        return patterns.wood(timber, palette.darker(timber, 0.72), rng.uniform(1, 3), 0.4, rng.random() < 0.5)
    if kind == 3:
        return patterns.stone(colour, palette.darker(colour, 0.8), 0.05, 0)
    return patterns.plain(colour, rng.uniform(-0.15, 0.25), rng.uniform(0.01, 0.04))
