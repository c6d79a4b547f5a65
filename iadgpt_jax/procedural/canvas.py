"""Painting: layers with outline, colour and finish, laid one over another on an upright, unposed canvas.

S is the canvas side in pixels (twice the picture's side). Light comes from the top left in every picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

from iadgpt_jax.procedural import noise, shapes
from iadgpt_jax.procedural.palette import Colour

Pattern = Callable[[int, np.random.Generator], np.ndarray]  # (S, tolerance) -> uint8[S, S, 3]


@dataclass(frozen=True)
class Finish:
    """How a layer meets the light. `form`: "flat", "round" (a dome), "tube" (along `axis`), "turned" (on a lathe)."""

    form: str = "flat"
    axis: float = 0.0  # radians, of a tube
    bevel: float = 0.25  # strength of the lit and shaded rims
    shadow: float = 0.35  # darkness of what it throws on the layers below
    gloss: float = 0.15  # strength of the highlight
    grain: tuple[str, float] | None = None  # a noise bank and its strength


@dataclass(frozen=True)
class Layer:
    """One painted piece. Outlines fill even-odd: a ring is two circles. Those with a `part` can be missing or moved."""

    outlines: tuple[shapes.Outline, ...]
    colour: Colour = (128, 128, 128)
    finish: Finish = field(default_factory=Finish)
    part: int | None = None
    cut: bool = False  # opens the product down to the background
    pattern: Pattern | None = None  # paints instead of the plain colour

    def moved(self, dx: float, dy: float, angle: float, about: shapes.Point) -> Layer:
        """The layer turned about a point, then shifted, in the unit frame."""
        outlines = tuple(shapes.turn(o, angle, about) + (dx, dy) for o in self.outlines)
        return replace(self, outlines=outlines, finish=replace(self.finish, axis=self.finish.axis + angle))


@lru_cache(maxsize=4)
def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[S, S] x and y of every pixel centre in the unit frame."""
    axis = ((np.arange(side) + 0.5) * (2 / side) - 1).astype(np.float32)
    return np.broadcast_to(axis[None], (side, side)), np.broadcast_to(axis[:, None], (side, side))


def fill(side: int, outlines: tuple[shapes.Outline, ...]) -> np.ndarray:
    """uint8[S, S] antialiased coverage of the outlines, even-odd."""
    mask = np.zeros((side, side), np.uint8)
    points = [np.round(((o + 1) * (side / 2) - 0.5) * 16).astype(np.int32) for o in outlines]
    cv2.fillPoly(mask, points, 255, cv2.LINE_AA, 4)
    return mask


class Canvas:
    """rgb uint8[S, S, 3], the bare background uint8[S, S, 3] and the product's coverage uint8[S, S]."""

    def __init__(self, background: np.ndarray):
        self.background = background
        self.rgb = background.copy()
        self.side = len(background)
        self.product = np.zeros((self.side, self.side), np.uint8)

    def lay(self, layer: Layer, tolerance: np.random.Generator) -> None:
        """Paints a layer; `tolerance` varies what nature varies from one product to the next."""
        mask = fill(self.side, layer.outlines)
        x, y, w, h = cv2.boundingRect(mask)
        if w == 0:
            return
        roi = (slice(y, y + h), slice(x, x + w))
        if layer.cut:
            self._cut(mask, roi, layer.finish)
            return
        if layer.finish.shadow:
            self._throw_shadow(mask, layer.finish.shadow)
        if layer.pattern is not None:
            surface = layer.pattern(self.side, tolerance)[roi].astype(np.float32)
        else:
            surface = np.empty((h, w, 3), np.float32)
            surface[:] = layer.colour
        shade = self._shade(mask, roi, layer.finish)
        if layer.finish.grain is not None:
            name, strength = layer.finish.grain
            shade += strength * noise.window(name, self.side, tolerance)[roi]
        surface *= shade[..., None]
        if layer.finish.gloss:
            surface += (90 * layer.finish.gloss * np.maximum(shade - 1.06, 0) * 6)[..., None]
        alpha = (mask[roi].astype(np.float32) * (1 / 255))[..., None]
        below = self.rgb[roi]
        self.rgb[roi] = np.clip(below + (surface - below) * alpha, 0, 255).astype(np.uint8)
        np.maximum(self.product, mask, out=self.product)

    def _throw_shadow(self, mask: np.ndarray, strength: float) -> None:
        reach = max(2, self.side // 45)
        x, y, w, h = cv2.boundingRect(mask)
        x0, y0 = max(0, x - reach), max(0, y - reach)
        x1, y1 = min(self.side, x + w + 3 * reach), min(self.side, y + h + 3 * reach)
        matrix = np.float32([[1, 0, reach - x0], [0, 1, reach - y0]])
        soft = cv2.warpAffine(mask, matrix, (x1 - x0, y1 - y0))
        soft = cv2.blur(cv2.blur(soft, (2 * reach + 1,) * 2), (2 * reach + 1,) * 2)
        factor = 1 - (strength / 255) * soft.astype(np.float32)
        roi = (slice(y0, y1), slice(x0, x1))
        self.rgb[roi] = (self.rgb[roi] * factor[..., None]).astype(np.uint8)

    def _cut(self, mask: np.ndarray, roi: tuple[slice, slice], finish: Finish) -> None:
        reach = max(2, self.side // 50)
        depth = cv2.warpAffine(mask, np.float32([[1, 0, reach], [0, 1, reach]]), (self.side, self.side))
        depth = cv2.blur(depth, (reach, reach))[roi].astype(np.float32) / 255
        floor = self.background[roi] * (1 - finish.shadow * (1 - 0.75 * depth))[..., None]
        alpha = (mask[roi].astype(np.float32) / 255)[..., None]
        self.rgb[roi] = (self.rgb[roi] * (1 - alpha) + floor * alpha).astype(np.uint8)
        self.product[roi] = np.minimum(self.product[roi], 255 - mask[roi])

    def _shade(self, mask: np.ndarray, roi: tuple[slice, slice], finish: Finish) -> np.ndarray:
        """float32[h, w] brightness factor of the layer's surface, near 1."""
        gx, gy = grid(self.side)
        x, y = gx[roi], gy[roi]
        cx, cy = float(x[0, 0] + x[0, -1]) / 2, float(y[0, 0] + y[-1, 0]) / 2
        rx, ry = max(1e-3, float(x[0, -1] - cx)), max(1e-3, float(y[-1, 0] - cy))
        u, v = (x - cx) / rx, (y - cy) / ry
        if finish.form == "round":
            d = (u + 0.3) ** 2 + (v + 0.35) ** 2
            shade = 1.12 - 0.3 * d + finish.gloss * 2 * np.exp(-d * 9)
        elif finish.form == "tube":
            c, s = float(np.cos(finish.axis)), float(np.sin(finish.axis))
            across = (y - cy) * c - (x - cx) * s
            across = across / max(1e-3, min(float(np.abs(across).max()), rx * abs(s) + ry * abs(c)))
            shade = 0.62 + 0.5 * np.sqrt(np.maximum(0, 1 - across**2))
            shade += finish.gloss * 2.2 * np.exp(-(((across + 0.38) / 0.16) ** 2))
        elif finish.form == "turned":
            angle = cv2.phase(np.ascontiguousarray(u), np.ascontiguousarray(v))
            shade = 1 + 0.16 * np.cos(2 * angle - 1.7) + 0.05 * np.cos(5 * angle + 0.6)
        else:
            shade = 1 - 0.05 * (u + v)
        if finish.bevel:
            k = max(3, self.side // 40) | 1
            soft = cv2.blur(cv2.copyMakeBorder(mask[roi], k, k, k, k, cv2.BORDER_CONSTANT), (k, k)).astype(np.float32)
            lit = soft[2 * k :, 2 * k :] - soft[: -2 * k, : -2 * k]  # brighter towards the lower right: a lit rim
            shade = shade + (finish.bevel / 255) * lit[: shade.shape[0], : shade.shape[1]]
        return np.ascontiguousarray(shade, dtype=np.float32)
