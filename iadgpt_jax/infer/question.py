"""The detection question about one query image, tokenised once per image size and laid out for a batch of queries.

Suffixes: Q queries, P patches per image, N = P / merge² merged tokens, C slots of a lane, R keyword rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.patches import grid_of, patches_needed, to_patches
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.models.iadgpt.positions import text_position


class Question(NamedTuple):
    """What of the prompt follows the references; slots and positions count from the lane's first. Leading axis Q, none
    in a template. grid int32[2] merged tokens high and wide; tokens int32[C]; image_token int32[C], -1 for text;
    positions int32[3, C] (an image token carries its image's origin); map_rows int32[R]; map_weights float32[R] of the
    abnormal words; map_start, answer int32[]: slots of the first image token, and of the one that predicts the answer.
    """

    grid: np.ndarray
    tokens: np.ndarray
    image_token: np.ndarray
    positions: np.ndarray
    map_rows: np.ndarray
    map_weights: np.ndarray
    map_start: np.ndarray
    answer: np.ndarray


class Questions:
    """Lays out queries of any sizes; templates are kept per image size."""

    def __init__(self, encoder: Encoder):
        self.encoder, self.vision = encoder, encoder.config.vision
        self._templates: dict[tuple[int, int], Question] = {}

    def __call__(self, queries: Sequence[np.ndarray], room: int) -> tuple[np.ndarray, Question]:
        """uint8[H, W, 3] each -> (patches uint8[Q, P, 3·patch²], Question), Q = `room`. Places that no query takes
        repeat the first one's question about an empty image."""
        grids = [grid_of(query.shape, self.vision) for query in queries]
        budget = max(patches_needed(grid, self.vision) for grid in grids)
        patches = np.zeros((room, budget, self.vision.patch_values), np.uint8)
        for at, query in zip(patches, queries, strict=False):
            laid = to_patches(query, self.vision)
            at[: len(laid)] = laid
        templates = [self._template(grid) for grid in grids + grids[:1] * (room - len(grids))]
        text = max(len(template.tokens) - int(template.grid.prod()) for template in templates)
        slots = text + budget // self.vision.merge**2
        return patches, Question(*map(np.stack, zip(*(_padded(t, slots) for t in templates), strict=True)))

    def _template(self, grid: tuple[int, int]) -> Question:
        if grid not in self._templates:
            self._templates[grid] = self._encode(grid)
        return self._templates[grid]

    def _encode(self, grid: tuple[int, int]) -> Question:
        unit = self.vision.patch * self.vision.merge
        blank = np.zeros((grid[0] * unit, grid[1] * unit, 3), np.uint8)
        asked = Block(images=(blank,), detection=Detection())
        encoded = self.encoder(Instance("question", (asked,)))
        block, start = encoded.blocks[0], len(encoded.shared)  # what is shared is the header: text, one position a slot
        segment = block.segment
        shift = np.array(text_position(self.encoder.config.positions, start))
        rows, abnormal, _ = zip(*block.keyword_rows, strict=True)
        return Question(
            grid=np.array(grid, np.int32),
            tokens=np.array(segment.tokens, np.int32),
            image_token=np.where(np.array(segment.image) >= 0, segment.image_token, -1).astype(np.int32),
            positions=(np.array(segment.positions).T - shift[:, None]).astype(np.int32),
            map_rows=np.array(rows, np.int32),
            map_weights=np.array(abnormal, np.float32),
            map_start=np.int32(block.map_start),
            answer=np.int32(block.answer),
        )


def _padded(template: Question, slots: int) -> Question:
    """The template with empty slots behind it, which nothing before them sees."""
    behind = slots - len(template.tokens)
    return template._replace(
        tokens=np.pad(template.tokens, (0, behind)),
        image_token=np.pad(template.image_token, (0, behind), constant_values=-1),
        positions=np.pad(template.positions, ((0, 0), (0, behind))),
    )
