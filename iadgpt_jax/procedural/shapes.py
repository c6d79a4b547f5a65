"""Outlines as polygons float[n, 2] in the unit frame: x right, y down, both in [−1, 1], the picture's centre at 0."""

from __future__ import annotations

import numpy as np

Point = tuple[float, float]
Outline = np.ndarray


def turn(points: Outline, angle: float, about: Point = (0, 0)) -> Outline:
    """The outline rotated by `angle` radians about a point."""
    c, s = np.cos(angle), np.sin(angle)
    return (points - about) @ np.array([[c, s], [-s, c]]) + about


def ellipse(at: Point, rx: float, ry: float | None = None, angle: float = 0, n: int = 56) -> Outline:
    """An ellipse, or a circle when `ry` is left out."""
    t = np.arange(n) * (2 * np.pi / n)
    points = np.stack([rx * np.cos(t), (rx if ry is None else ry) * np.sin(t)], 1)
    return turn(points, angle) + at


def regular(at: Point, radius: float, corners: int, phase: float = 0) -> Outline:
    """A regular polygon."""
    t = phase + np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.cos(t), np.sin(t)], 1) * radius + at


def box(at: Point, width: float, height: float, rounding: float = 0, angle: float = 0) -> Outline:
    """A rectangle of full `width` and `height` with corners rounded by a radius."""
    w, h = width / 2, height / 2
    r = min(rounding, w, h)
    if r <= 0:
        points = np.array([(-w, -h), (w, -h), (w, h), (-w, h)])
    else:
        t = np.linspace(0, np.pi / 2, 7)
        corner = np.stack([np.cos(t), np.sin(t)], 1) * r
        points = np.concatenate(
            [
                turn(corner, k * np.pi / 2) + c
                for k, c in enumerate([(w - r, h - r), (r - w, h - r), (r - w, r - h), (w - r, r - h)])
            ]
        )
    return turn(points, angle) + at


def rod(a: Point, b: Point, width: float) -> Outline:
    """A bar with round ends from a to b."""
    (ax, ay), (bx, by) = a, b
    length = float(np.hypot(bx - ax, by - ay))
    return box(((ax + bx) / 2, (ay + by) / 2), length + width, width, width / 2, float(np.arctan2(by - ay, bx - ax)))


def toothed(
    at: Point, root: float, tip: float, teeth: int, share: float = 0.5, slope: float = 0.25, phase: float = 0
) -> Outline:
    """A gear's outline: `teeth` trapezoids whose roots take `share` of the pitch; `slope` of 1 makes them triangles."""
    pitch = 2 * np.pi / teeth
    half = share * pitch / 2
    steps = np.array([-half, -half * (1 - slope), half * (1 - slope), half, pitch / 2])
    radii = np.array([root, tip, tip, root, root])
    t = (phase + np.arange(teeth)[:, None] * pitch + steps).ravel()
    r = np.tile(radii, teeth)
    return np.stack([np.cos(t) * r, np.sin(t) * r], 1) + at


def profile(half_widths: list[tuple[float, float]], at: Point = (0, 0), smooth: int = 0) -> Outline:
    """A body symmetric about the vertical: (y, half width) from top to bottom, its corners cut `smooth` times."""
    right = np.array([(w, y) for y, w in half_widths], float)
    for _ in range(smooth):  # Chaikin's corner cutting, with the ends kept
        a, b = right[:-1], right[1:]
        right = np.concatenate(
            [right[:1], np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2), right[-1:]]
        )
    left = right[::-1] * (-1, 1)
    return np.concatenate([right, left]) + at


def blob(
    rng: np.random.Generator, at: Point, radius: float, rough: float = 0.25, squeeze: float = 1, n: int = 40
) -> Outline:
    """An irregular closed outline: a circle with a few random waves, squeezed along a random direction."""
    t = np.arange(n) * (2 * np.pi / n)
    wave = sum(rng.normal(0, rough / k) * np.cos(k * t + rng.uniform(0, 6.28)) for k in (2, 3, 4, 5))
    r = radius * np.clip(1 + wave, 0.35, 1.8)
    points = np.stack([np.cos(t) * r, np.sin(t) * r * squeeze], 1)
    return turn(points, rng.uniform(0, np.pi)) + at


def around(count: int, radius: float, phase: float = 0, at: Point = (0, 0)) -> list[Point]:
    """`count` points evenly on a circle."""
    t = phase + np.arange(count) * (2 * np.pi / max(1, count))
    return [(at[0] + radius * float(np.cos(a)), at[1] + radius * float(np.sin(a))) for a in t]


def centre(outline: Outline) -> Point:
    """The middle of the outline's bounding box."""
    low, high = outline.min(0), outline.max(0)
    return float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2
