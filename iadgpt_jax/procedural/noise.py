"""Randomness with an address: keyed generators, and banks of ready noise to crop from.

Drawing fresh noise for every picture would cost more than everything else together. A bank is drawn once per process
from a fixed key and every picture takes its own window of it, so pictures stay pure functions of their keys.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

# Name: blur along x and along y, in pixels. "grain" and "brush" run along x.
_BANKS = {"fine": (0.8, 0.8), "soft": (4, 4), "cloud": (20, 20), "grain": (60, 9), "brush": (14, 0.7)}


def generator(*key: int) -> np.random.Generator:
    """A generator that is a function of non-negative integers only."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


@cache
def _bank(name: str, extent: int) -> np.ndarray:
    """float32[B, B] of noise with mean 0 and deviation 1."""
    x, y = _BANKS[name]
    white = generator(7, tuple(_BANKS).index(name)).standard_normal((extent, extent), dtype=np.float32)
    field = cv2.GaussianBlur(white, (0, 0), sigmaX=x, sigmaY=y, borderType=cv2.BORDER_REFLECT)
    return (field - field.mean()) / field.std()


@cache
def _sensor_bank(extent: int) -> np.ndarray:
    """float32[B, B, 3]: unit noise, partly shared by the channels as demosaicing leaves it."""
    white = generator(11).standard_normal((extent, extent, 3), dtype=np.float32)
    return 0.75 * white + 0.65 * white.mean(axis=2, keepdims=True) * np.float32(3**0.5)


def _corner(side: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """(bank extent, y, x): where a window of this side lies. A function of the side alone and the generator."""
    extent = 640 if side <= 448 else 2 * side
    y, x = rng.integers(0, extent - side, 2)
    return extent, int(y), int(x)


def window(name: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """float32[side, side]: a random window of "fine", "soft", "cloud", "grain" or "brush" (a view: do not write)."""
    extent, y, x = _corner(side, rng)
    return _bank(name, extent)[y : y + side, x : x + side]


def sensor(side: int, rng: np.random.Generator) -> np.ndarray:
    """float32[side, side, 3]: unit sensor noise (a view: do not write)."""
    extent, y, x = _corner(side, rng)
    return _sensor_bank(extent)[y : y + side, x : x + side]
