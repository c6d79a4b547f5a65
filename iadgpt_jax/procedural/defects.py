"""Surface marks: the one generator behind both defects and the fixed marks that belong to a design.

A mark is drawn in place on rgb uint8[S, S, 3] and never leaves the product. `size` is its extent as a share of the
canvas, `strength` in (0, 1] how strongly it stands out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from iadgpt_jax.procedural import palette, shapes
from iadgpt_jax.procedural.palette import Colour


@dataclass(frozen=True)
class Site:
    """Where marks may be: coverage uint8[S, S], points inside and on the rim int[n, 2] (x, y), the clean picture."""

    product: np.ndarray
    inside: np.ndarray
    rim: np.ndarray
    clean: np.ndarray
    background: np.ndarray

    @staticmethod
    def of(product: np.ndarray, clean: np.ndarray, background: np.ndarray) -> Site:
        """Finds the points of a product from its coverage."""
        side = len(product)
        core = cv2.erode(product, np.ones((3, 3), np.uint8), iterations=max(1, side // 56))
        core[: side // 14], core[-side // 14 :], core[:, : side // 14], core[:, -side // 14 :] = 0, 0, 0, 0
        inside = np.argwhere(core[::2, ::2] > 200)[:, ::-1] * 2
        contours = cv2.findContours((product > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        rim = np.concatenate([c[:, 0] for c in contours]) if contours else np.zeros((0, 2), int)
        rim = rim[((rim > side * 0.07) & (rim < side * 0.93)).all(1)]
        if len(inside) == 0:
            inside = np.argwhere(product > 127)[:, ::-1]
        return Site(product, inside, rim, clean, background)

    def point(self, rng: np.random.Generator) -> np.ndarray:
        """float[2]: a random place on the product, in pixels."""
        return self.inside[rng.integers(len(self.inside))].astype(float)

    def colour(self, at: np.ndarray) -> Colour:
        """The product's own colour around a place."""
        x, y = int(at[0]), int(at[1])
        r, g, b = self.clean[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].reshape(-1, 3).mean(0)
        return float(r), float(g), float(b)


def _blend(rgb: np.ndarray, mask: np.ndarray, colour: Colour | np.ndarray, alpha: float) -> None:
    """Lays a colour (or picture) over rgb where mask uint8[S, S] says."""
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return
    roi = (slice(y, y + h), slice(x, x + w))
    a = (mask[roi].astype(np.float32) * (alpha / 255))[..., None]
    top = colour[roi] if isinstance(colour, np.ndarray) else np.float32(colour)
    below = rgb[roi].astype(np.float32)
    rgb[roi] = np.clip(below + (top - below) * a + 0.5, 0, 255).astype(np.uint8)


def _shaded(rgb: np.ndarray, factor: np.ndarray, roi: tuple[slice, slice]) -> None:
    rgb[roi] = np.clip(rgb[roi] * factor[..., None] + 0.5, 0, 255).astype(np.uint8)


def _polygon(side: int, points: np.ndarray) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask


def _curve(side: int, points: np.ndarray, width: float) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return mask


def _on(site: Site, mask: np.ndarray) -> np.ndarray:
    return cv2.min(mask, site.product)


def _contrasting(rng: np.random.Generator, own: Colour) -> Colour:
    """Black-ish on light ground, white-ish on dark ground, either in between."""
    light = palette.luminance(own)
    dark = light > 0.62 or (light > 0.38 and rng.random() < 0.6)
    return palette.darker(own, 0.18) if dark else palette.mix(own, (250, 250, 245), 0.85)


def scratch(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A thin, slightly curved line or two, with a lit side."""
    side = len(rgb)
    at, angle = site.point(rng), rng.uniform(0, np.pi)
    colour = _contrasting(rng, site.colour(at))
    length, sag = side * size * 0.85, rng.normal(0, 0.08)
    t = np.linspace(-0.5, 0.5, 9)
    line = shapes.turn(np.stack([t * length, sag * length * (1 - 4 * t * t)], 1), angle)
    width = side / 112 * rng.uniform(1.2, 2.2) * (0.75 + 0.6 * min(size, 0.6))
    for _ in range(1 if rng.random() < 0.7 else 2):
        shift = rng.normal(0, side * 0.012, 2)
        own = palette.mix(site.colour(at), (255, 255, 255), 0.4)
        _blend(rgb, _on(site, _curve(side, line + at + shift + side / 150, width)), own, 0.5 * strength)
        _blend(rgb, _on(site, _curve(side, line + at + shift, width)), colour, 0.6 + 0.4 * strength)


def crack(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A jagged dark line with branches."""
    side = len(rgb)
    at, heading = site.point(rng), rng.uniform(0, 2 * np.pi)
    dark = palette.darker(site.colour(at), 0.15)
    if palette.luminance(site.colour(at)) < 0.25:
        dark = palette.mix(site.colour(at), (240, 240, 235), 0.8)
    steps = 9
    stride = side * size * 0.85 / steps

    def walk(start: np.ndarray, direction: float, count: int) -> np.ndarray:
        turns = direction + np.cumsum(rng.normal(0, 0.5, count))
        return start + np.concatenate([[(0, 0)], np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * stride, 0)])

    trunk = walk(at, heading, steps)
    trunk += at - trunk[steps // 2]
    width = side / 112 * rng.uniform(1.2, 2.0)
    mask = _curve(side, trunk, width)
    for _ in range(rng.integers(0, 3)):
        k = int(rng.integers(2, steps - 1))
        mask = cv2.max(mask, _curve(side, walk(trunk[k], heading + rng.choice((-0.9, 0.9)), 3), max(1, width * 0.7)))
    _blend(rgb, _on(site, mask), dark, 0.65 + 0.35 * strength)


def dent(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A hollow (or bump) told by its shading: dark towards the light, bright away from it."""
    side = len(rgb)
    at = site.point(rng)
    rx = side * size * 0.24 * rng.uniform(0.8, 1.2)
    ry, tilt = rx * rng.uniform(0.6, 1), rng.uniform(0, np.pi)
    reach = int(2.2 * max(rx, ry)) + 2
    x0, y0 = max(0, int(at[0]) - reach), max(0, int(at[1]) - reach)
    x1, y1 = min(side, int(at[0]) + reach), min(side, int(at[1]) + reach)
    roi = (slice(y0, y1), slice(x0, x1))
    x, y = np.meshgrid(np.arange(x0, x1) - at[0], np.arange(y0, y1) - at[1])
    c, s = np.cos(tilt), np.sin(tilt)
    u, v = (x * c + y * s) / rx, (y * c - x * s) / ry
    well = np.exp(-(u * u + v * v)) * (site.product[roi] / 255)
    lean = ((u * c - v * s) + (u * s + v * c)) * well
    sign = -1 if rng.random() < 0.75 else 1
    _shaded(rgb, 1 + (0.55 + 0.9 * strength) * -sign * lean - 0.35 * strength * well, roi)
    glint = np.clip(-sign * lean - 0.2, 0, 1) * (90 * strength)
    rgb[roi] = np.clip(rgb[roi] + glint[..., None], 0, 255).astype(np.uint8)


def hole(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A round spot or hole, dark on light products and light on dark ones, with a rim."""
    side = len(rgb)
    at = site.point(rng)
    own = site.colour(at)
    fill = palette.darker(own, 0.2) if palette.luminance(own) > 0.3 else palette.mix(own, (235, 235, 230), 0.75)
    r = side * size * 0.16
    outline = shapes.blob(rng, (0, 0), r, 0.06, rng.uniform(0.75, 1)) + at
    rim = shapes.blob(rng, (0, 0), r * 1.22, 0.04) + at + r * 0.1
    _blend(rgb, _on(site, _polygon(side, rim)), palette.mix(own, (255, 255, 255), 0.5), 0.5 * strength)
    _blend(rgb, _on(site, _polygon(side, outline)), fill, 0.7 + 0.3 * strength)


def stain(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A soft-edged irregular patch of another tint."""
    side = len(rgb)
    at = site.point(rng)
    _, tint = palette.draw(rng, ("brown", "yellow", "black", "green", "blue", "white", "red"), site.colour(at))
    mask = _polygon(side, shapes.blob(rng, (0, 0), side * size * 0.22, 0.3, rng.uniform(0.5, 1)) + at)
    k = max(3, side // 50) | 1
    mask = cv2.blur(mask, (k, k))
    _blend(rgb, _on(site, mask), tint, 0.4 + 0.5 * strength)
    ring = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    _blend(rgb, _on(site, ring), palette.darker(tint, 0.6), 0.5 * strength)


def particle(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A crumb of something else lying on the product, with its shadow."""
    side = len(rgb)
    for _ in range(1 if rng.random() < 0.7 else 2):
        at = site.point(rng)
        _, colour = palette.draw(rng, palette.ANY, site.colour(at))
        shape = shapes.blob(rng, (0, 0), side * size * 0.17, 0.35, rng.uniform(0.5, 1), n=11) + at
        _blend(rgb, _on(site, _polygon(side, shape + side / 75)), (10, 10, 12), 0.5)
        _blend(rgb, _on(site, _polygon(side, shape)), colour, 0.85 + 0.15 * strength)
        facet = shapes.turn(shape - at, 0.2) * 0.55 + at - side * size * 0.03
        _blend(rgb, _on(site, _polygon(side, facet)), palette.darker(colour, 1.35), 0.7)


def fibre(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A curly hair or thread."""
    side = len(rgb)
    at = site.point(rng)
    _, colour = palette.draw(rng, palette.ANY, site.colour(at))
    n = 24
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(rng.normal(0, 0.14), 0.22, n))
    walk = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0) * (side * size * 1.15 / n)
    walk += at - walk[n // 2]
    width = side / 112 * rng.uniform(1.2, 1.9)
    _blend(rgb, _on(site, _curve(side, walk + side / 110, width)), (10, 10, 12), 0.4)
    _blend(rgb, _on(site, _curve(side, walk, width)), colour, 0.75 + 0.25 * strength)


def chip(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A piece broken out of the edge: the background shows, behind a rough fracture."""
    side = len(rgb)
    if len(site.rim) == 0:
        hole(rgb, site, rng, size, strength)
        return
    at = site.rim[rng.integers(len(site.rim))].astype(float)
    rough = shapes.blob(rng, (0, 0), side * size * 0.23, 0.28, rng.uniform(0.55, 1), n=17) + at
    own = site.colour(at)
    _blend(rgb, _on(site, _polygon(side, (rough - at) * 1.16 + at)), palette.darker(own, 0.5), 0.9)
    _blend(rgb, _on(site, _polygon(side, rough)), site.background, 1.0)


def misprint(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """Letters, bars or a ring in printing ink."""
    side = len(rgb)
    at = site.point(rng)
    _, ink = palette.draw(rng, ("black", "white", "red", "blue", "green", "yellow"), site.colour(at))
    mask = np.zeros((side, side), np.uint8)
    reach, form = side * size * 0.24, rng.integers(3)
    thick = max(1, round(side / 112 * 1.6 * (0.6 + size)))
    if form == 0:
        letters = "".join("AEHKLNRTXZ0479"[i] for i in rng.integers(0, 14, int(rng.integers(1, 4))))
        (w, h), _ = cv2.getTextSize(letters, cv2.FONT_HERSHEY_SIMPLEX, 1, thick)
        scale = 2 * reach / max(w, h * 1.5)
        org = (int(at[0] - w * scale / 2), int(at[1] + h * scale / 2))
        cv2.putText(mask, letters, org, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    elif form == 1:
        tilt = rng.uniform(0, np.pi)
        for k in range(int(rng.integers(2, 5))):
            bar = shapes.box((0, (k - 1.2) * reach * 0.5), reach * rng.uniform(0.8, 1.6), reach * 0.26, 0, 0)
            cv2.fillPoly(mask, [np.round((shapes.turn(bar, tilt) + at) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    else:
        for outline in (shapes.ellipse((0, 0), reach * 0.8), shapes.ellipse((0, 0), reach * 0.5)):
            mask ^= _polygon(side, outline + at)
    _blend(rgb, _on(site, mask), ink, 0.55 + 0.4 * strength)


def smear(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A streak dragged across the surface, fading along its way."""
    side = len(rgb)
    at, angle = site.point(rng), rng.uniform(0, np.pi)
    colour = _contrasting(rng, site.colour(at))
    length, breadth = side * size * 0.62, side * size * 0.2
    mask = np.zeros((side, side), np.uint8)
    for k in np.linspace(-0.5, 0.5, 5):
        start, end = rng.uniform(-0.55, -0.3), rng.uniform(0.0, 0.55)
        line = shapes.turn(np.array([(start * length, k * breadth), (end * length, k * breadth)]), angle) + at
        level = int(rng.uniform(120, 255))
        width = max(1, round(breadth * 0.26))
        cv2.polylines(mask, [np.round(line * 16).astype(np.int32)], False, level, width, cv2.LINE_AA, 4)
    k = max(3, side // 70) | 1
    _blend(rgb, _on(site, cv2.blur(mask, (k, k))), colour, 0.45 + 0.5 * strength)


def bend(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """The product pushed out of shape: pixels around a rim point are displaced together."""
    side = len(rgb)
    places = site.rim if len(site.rim) and rng.random() < 0.8 else site.inside
    at = places[rng.integers(len(places))].astype(float)
    reach = side * size * 0.36
    push = reach * (0.3 + 0.3 * strength)
    angle = rng.uniform(0, 2 * np.pi)
    x0, y0 = max(0, int(at[0] - 2 * reach)), max(0, int(at[1] - 2 * reach))
    x1, y1 = min(side, int(at[0] + 2 * reach)), min(side, int(at[1] + 2 * reach))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    x, y = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    weight = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / np.float32(0.7 * reach * reach))
    warped = cv2.remap(
        rgb,
        (x - weight * np.float32(push * np.cos(angle))).astype(np.float32),
        (y - weight * np.float32(push * np.sin(angle))).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    rgb[y0:y1, x0:x1] = warped


def speckles(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A cluster of small spots: rust, mould, pitting."""
    side = len(rgb)
    at = site.point(rng)
    own = site.colour(at)
    _, colour = palette.draw(rng, ("brown", "orange", "black", "white", "green"), own)
    mask = np.zeros((side, side), np.uint8)
    count = int(rng.integers(7, 16))
    offsets = rng.normal(0, side * size * 0.12, (count, 2))
    radii = side * (0.008 + size * 0.03) * rng.uniform(0.5, 1.3, count)
    for (dx, dy), r in zip(offsets, radii, strict=True):
        cv2.circle(
            mask, (round((at[0] + dx) * 16), round((at[1] + dy) * 16)), max(8, round(r * 16)), 255, -1, cv2.LINE_AA, 4
        )
    _blend(rgb, _on(site, mask), colour, 0.6 + 0.4 * strength)


def burn(rgb: np.ndarray, site: Site, rng: np.random.Generator, size: float, strength: float) -> None:
    """A scorched place: dark in the middle, brown at the rim; on dark ground it bleaches."""
    side = len(rgb)
    at = site.point(rng)
    dark = palette.luminance(site.colour(at)) < 0.28
    heart, rim = ((214, 200, 180), (150, 130, 110)) if dark else ((34, 24, 20), (96, 58, 30))
    for radius, colour, alpha in ((0.26, rim, 0.5), (0.18, heart, 0.75)):
        mask = _polygon(side, shapes.blob(rng, (0, 0), side * size * radius, 0.15) + at)
        k = max(3, round(side * size * 0.12)) | 1
        _blend(rgb, _on(site, cv2.blur(mask, (k, k))), colour, alpha * (0.55 + 0.45 * strength))


Mark = Callable[[np.ndarray, Site, np.random.Generator, float, float], None]
MARKS: dict[str, Mark] = {
    "scratch": scratch,
    "crack": crack,
    "dent": dent,
    "hole": hole,
    "stain": stain,
    "foreign particle": particle,
    "fibre": fibre,
    "broken edge": chip,
    "misprint": misprint,
    "smear": smear,
    "bend": bend,
    "speckles": speckles,
    "burn": burn,
}
PART_KINDS = ("missing part", "moved part", "wrong colour")
