"""What one server takes on: everything a stranger sends is bounded by one of these."""

from __future__ import annotations

import math
from dataclasses import dataclass

from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspector import QUERIES_AT_ONCE


@dataclass(frozen=True)
class Limits:
    """queue: photographs, and beside them chats, that may wait. at_once: photographs in one batch. streams: chats and
    new products that take turns. seconds: a request waits for its answer, or for the next bytes of its body;
    making_seconds: for a new product, which is many inspections. body_bytes: of a request. photographs: of a request.
    chat_images: of a chat. tokens: of an answer. shown_side: pixels of the longer side of the pictures that are drawn;
    photographs are not kept larger while they wait. image_tokens: of a product's references, in all tiles together.

    Raises:
      InputError: one of them is less than 1 or infinite.
    """

    queue: int = 64
    at_once: int = QUERIES_AT_ONCE
    streams: int = 4
    seconds: float = 60.0
    making_seconds: float = 600.0
    body_bytes: int = 64_000_000
    photographs: int = 32
    chat_images: int = 8
    tokens: int = 512
    shown_side: int = 1600
    image_tokens: int = 65_536  # 16 references of 448 pixels in 4x4 tiles

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 1 <= value < math.inf:
                raise InputError(f"{name} is {value}; choose a number from 1 on")

    def check_tokens(self, side: int, unit: int, references: int, tiles: tuple[int, int]) -> None:
        """Raise InputError where so many references make more image tokens than the model may read for a product.
        side, unit: pixels of a tile's square, and of the square of one token."""
        tokens = (side // unit) ** 2 * references * tiles[0] * tiles[1]
        if tokens > self.image_tokens:
            raise InputError(
                f"{references} references at side {side} in {tiles[0]}x{tiles[1]} tiles make {tokens:,} image tokens, "
                f"at most {self.image_tokens:,} are read; choose a smaller side, fewer tiles or fewer references"
            )
