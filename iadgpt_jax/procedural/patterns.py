"""Surfaces that are more than one colour: wood, cloth, leather, tiles, and the tables that products lie on.

Every function returns a pattern: (S, tolerance) -> uint8[S, S, 3]. Only what the tolerance generator decides differs
from one product to the next; all else is fixed when the pattern is made.
"""

from __future__ import annotations

import cv2
import numpy as np

from iadgpt_jax.procedural import noise, palette
from iadgpt_jax.procedural.canvas import Pattern, grid
from iadgpt_jax.procedural.palette import Colour


def ramp(colours: list[Colour]) -> np.ndarray:
    """uint8[256, 3]: colours spread evenly over 256 levels."""
    at = np.linspace(0, 255, len(colours))
    return np.stack([np.interp(np.arange(256), at, [c[k] for c in colours]) for k in range(3)], 1).astype(np.uint8)


def through(levels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8[S, S, 3]: levels float32[S, S] in [0, 1] looked up in a ramp."""
    index = np.clip(levels * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(cv2.merge([index, index, index]), np.ascontiguousarray(table[None]))


def plain(colour: Colour, slope: float = 0.1, grain: float = 0.03, bank: str = "fine") -> Pattern:
    """One colour, a little brighter towards the top left."""

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        x, y = grid(side)
        shade = 1 - slope * 0.5 * (x + y) + grain * noise.window(bank, side, tolerance)
        return np.clip(shade[..., None] * np.float32(colour), 0, 255).astype(np.uint8)

    return paint


def ruled(colour: Colour, line: Colour, pitch: float, width: float = 0.012, cross: bool = True) -> Pattern:
    """A mat with printed lines every `pitch`."""

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        rgb = plain(colour, 0.08, 0.02)(side, tolerance)
        thickness = max(1, round(width * side / 2))
        for k in np.arange(-1 + pitch / 2, 1, pitch):
            at = round((k + 1) * side / 2)
            cv2.line(rgb, (0, at), (side, at), line, thickness)
            if cross:
                cv2.line(rgb, (at, 0), (at, side), line, thickness)
        return rgb

    return paint


def ribbed(colour: Colour, pitch: float, depth: float = 0.16, angle: float = 0) -> Pattern:
    """Parallel grooves: a conveyor belt, corduroy, a corrugated sheet."""

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        x, y = grid(side)
        across = float(np.cos(angle)) * y - float(np.sin(angle)) * x
        shade = (
            1 + depth * np.sin(across * np.float32(2 * np.pi / pitch)) + 0.03 * noise.window("fine", side, tolerance)
        )
        return np.clip(shade[..., None] * np.float32(colour), 0, 255).astype(np.uint8)

    return paint


def wood(light: Colour, dark: Colour, rings: float, wave: float, upright: bool = False) -> Pattern:
    """Growth rings along x, or along y if `upright`; the grain's course differs from board to board."""
    table = ramp([light, palette.mix(light, dark, 0.35), dark, light])

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        _, y = grid(side)
        levels = rings * 0.5 * y + wave * noise.window("grain", side, tolerance)
        levels = levels + 0.05 * noise.window("brush", side, tolerance)
        levels = levels - np.floor(levels)
        fibre = np.clip(128 + 8 * noise.window("brush", side, tolerance), 0, 255).astype(np.uint8)
        rgb = cv2.addWeighted(through(levels, table), 1, cv2.merge([fibre] * 3), 1, -128)
        return np.ascontiguousarray(rgb.transpose(1, 0, 2)) if upright else rgb

    return paint


def woven(warp: Colour, weft: Colour, threads: int, twill: int, stripe: tuple[Colour, int] | None = None) -> Pattern:
    """Cloth of threads × threads over and under; `twill` 1 is plain weave, 2 and 3 go diagonally; a stripe every n."""

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        x, y = grid(side)
        sway = 0.035 * noise.window("cloud", side, tolerance)
        a, b = (x[0] + 1) * (threads / 2), (y[:, 0] + 1) * (threads / 2)
        u, v = np.broadcast_to(a, (side, side)) + sway, b[:, None] + sway
        iu, iv = np.floor(u), np.floor(v)
        over = ((iu + iv) % (twill + 1)) < 1 if twill > 1 else ((iu + iv) % 2) < 1
        fu, fv = u - iu - 0.5, v - iv - 0.5
        relief = np.where(over, 1.12 - 1.9 * fu * fu, 0.98 - 1.9 * fv * fv)
        colour = np.where(over[..., None], np.float32(warp), np.float32(weft))
        if stripe is not None:
            striped = over & (iu % stripe[1] < max(1, stripe[1] // 4))
            colour[striped] = stripe[0]
        relief = relief + 0.04 * noise.window("fine", side, tolerance)
        return np.clip(colour * relief[..., None], 0, 255).astype(np.uint8)

    return paint


def stone(colour: Colour, vein: Colour, cloudiness: float, veins: float) -> Pattern:
    """Glazed tile or marble: soft clouds and thin veins, different on every piece."""
    table = ramp([vein, colour, colour])

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        cloud = noise.window("cloud", side, tolerance)
        thread = np.abs(noise.window("cloud", side, tolerance) + 0.25 * noise.window("soft", side, tolerance))
        levels = 0.75 + cloudiness * cloud - veins * np.exp(-(thread**2) * 90)
        return through(levels, table)

    return paint


def speckled(colour: Colour, speck: Colour, density: float) -> Pattern:
    """Terrazzo, dough or cork: specks on a ground, scattered anew on every piece."""
    table = ramp([colour, colour, speck])

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        levels = (noise.window("soft", side, tolerance) - (1.6 - density)) * 1.2
        rgb = through(levels + 0.1 * noise.window("fine", side, tolerance), table)
        shade = 128 + 10 * noise.window("soft", side, tolerance) + 5 * noise.window("cloud", side, tolerance)
        return cv2.addWeighted(rgb, 1, cv2.merge([np.clip(shade, 0, 255).astype(np.uint8)] * 3), 1, -128)

    return paint


def hide(colour: Colour, scale: float, depth: float) -> Pattern:
    """Leather: a relief of pebbles lit from the top left."""

    def paint(side: int, tolerance: np.random.Generator) -> np.ndarray:
        height = np.abs(cv2.resize(noise.window("soft", int(side * scale), tolerance), (side, side)))
        lit = np.zeros_like(height)
        lit[1:, 1:] = height[1:, 1:] - height[:-1, :-1]
        shade = 1 - 0.12 * np.exp(-height * 9) + depth * np.clip(lit, -0.5, 0.5)
        return np.clip(shade[..., None] * np.float32(colour), 0, 255).astype(np.uint8)

    return paint
