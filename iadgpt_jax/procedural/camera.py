"""The camera: an upright canvas becomes a photograph with its own pose, light, tolerance and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from iadgpt_jax.procedural import noise
from iadgpt_jax.procedural.canvas import grid


@dataclass(frozen=True)
class Shot:
    """One photograph's circumstances: where each pixel looks on the canvas, how bright, which noise."""

    map_x: np.ndarray  # float32[H, W], canvas pixels
    map_y: np.ndarray
    gain: np.ndarray  # float32[H, W, 1]
    lift: np.ndarray  # float32[3]
    noise: np.ndarray  # float32[H, W, 3], grey levels

    @staticmethod
    def draw(rng: np.random.Generator, side: int, canvas_side: int) -> Shot:
        """±2.5°, ±1.5 % of the side, ±1.5 % scale, a gentle warp; brightness, contrast, a slope of light, noise."""
        angle, scale = np.deg2rad(rng.uniform(-2.5, 2.5)), 1 + rng.uniform(-0.015, 0.015)
        dx, dy = rng.uniform(-0.03, 0.03, 2)
        c, s = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
        x, y = grid(side)
        half = np.float32(canvas_side / 2)
        u, v = (x - np.float32(dx)) * half, (y - np.float32(dy)) * half
        give = np.float32(rng.uniform(0.1, 0.4) * canvas_side / side)  # part tolerance, in canvas pixels
        map_x = c * u + s * v + (half - np.float32(0.5)) + give * noise.window("cloud", side, rng)
        map_y = c * v - s * u + (half - np.float32(0.5)) + give * noise.window("cloud", side, rng)
        slope_x, slope_y, brightness = rng.uniform(-0.07, 0.07), rng.uniform(-0.07, 0.07), rng.uniform(0.9, 1.1)
        contrast = rng.uniform(0.93, 1.07)
        gain = np.float32(brightness * contrast) * (1 + np.float32(slope_x) * x + np.float32(slope_y) * y)
        lift = (120 * (1 - contrast) + rng.uniform(-2.5, 2.5, 3)).astype(np.float32)
        sigma = rng.uniform(1.0, 3.5)
        return Shot(map_x, map_y, gain[..., None].astype(np.float32), lift, noise.sensor(side, rng) * np.float32(sigma))

    def photograph(self, canvas: np.ndarray) -> np.ndarray:
        """uint8[S, S, 3] -> uint8[H, W, 3]. S is twice H, so bilinear sampling averages what a pixel covers."""
        seen = cv2.remap(canvas, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        lit = seen * self.gain
        lit += self.lift
        lit += self.noise
        return np.clip(lit + 0.5, 0, 255, out=lit).astype(np.uint8)
