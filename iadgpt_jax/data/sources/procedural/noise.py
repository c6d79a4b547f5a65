"""Randomness with an address: keyed generators, and banks of ready noise to crop from.

Drawing fresh noise for every picture would cost more than everything else together. A bank is drawn once per process
from a fixed key and every picture takes its own window of it, so pictures stay pure functions of their keys.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

_BANK = 640  # side of a bank in pixels; windows up to 448 leave at least 192² offsets


def generator(*key: int) -> np.random.Generator:
    """A generator that is a function of non-negative integers only."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


@cache
def bank(name: str) -> np.ndarray:
    """float32[B, B] of noise with mean 0 and deviation 1: "fine", "soft", "cloud", "brush" (along x)."""
    sigma = {"fine": (0.8, 0.8), "soft": (4, 4), "cloud": (20, 20), "brush": (14, 0.7)}[name]
    white = generator(7, len(name), int(10 * sigma[0])).standard_normal((_BANK, _BANK), dtype=np.float32)
    field = cv2.GaussianBlur(white, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1], borderType=cv2.BORDER_REFLECT)
    return (field - field.mean()) / field.std()


@cache
def _colour_bank(name: str) -> np.ndarray:
    """uint8[B, B, 3]: the bank as grey noise of deviation 32 around 128; "sensor" is mostly independent per channel."""
    if name == "sensor":
        white = generator(11).standard_normal((_BANK, _BANK, 3), dtype=np.float32)
        field = 0.75 * white + 0.65 * white.mean(axis=2, keepdims=True) * 3**0.5
    else:
        field = np.repeat(bank(name)[..., None], 3, axis=2)
    return np.clip(128 + 32 * field, 0, 255).astype(np.uint8)


def window(name: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """float32[side, side]: a random window of a bank (a view: do not write)."""
    y, x = rng.integers(0, _BANK - side, 2)
    return bank(name)[y : y + side, x : x + side]


def colour_window(name: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """uint8[side, side, 3]: a random window of a bank in grey levels around 128 (a view: do not write)."""
    y, x = rng.integers(0, _BANK - side, 2)
    return _colour_bank(name)[y : y + side, x : x + side]
