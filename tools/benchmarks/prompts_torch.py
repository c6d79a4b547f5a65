"""Our encoded prompts as padded inputs for transformers, and anomaly maps computed by definition from the attention
matrices that it returns.

Suffixes: B prompts, S tokens of the longest, R keyword rows, N tokens of the query image, A targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from iadgpt_jax.convert.torch_twin.photograph_iadgpt import pixel_values
from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.pack import shrink_mask
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS

NO_LABEL = -100


@dataclass(frozen=True)
class Prompt:
    """One prompt with one query block and its photographs, in order."""

    encoded: Encoded
    photographs: Sequence[np.ndarray]


@dataclass(frozen=True)
class Batch:
    """inputs: keyword arguments of the model's forward. labels int64[B, S]. Per prompt: rows int64[R] of its keyword
    tokens, their weights float32[2, R] for the abnormal and the normal map, columns (start, stop) of the query image,
    and masks uint8[B, side, side] of the defects (None for prompts without)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    rows: list[torch.Tensor]
    weights: list[torch.Tensor]
    columns: list[tuple[int, int]]
    masks: torch.Tensor | None


def batch_of(prompts: Sequence[Prompt], config: ModelConfig, device: str, mask_side: int = 1) -> Batch:
    """Prompts padded on the right, as for training."""
    ids = [[*p.encoded.shared.tokens, *p.encoded.blocks[0].segment.tokens] for p in prompts]
    answered = all(p.encoded.blocks[0].targets for p in prompts)
    if answered:  # our inputs leave out the last answer token, which is only predicted; transformers wants it
        ids = [[*row, p.encoded.blocks[0].targets[-1][1]] for row, p in zip(ids, prompts, strict=True)]
    length = max(map(len, ids))
    tokens = torch.full((len(ids), length), config.tokens.end_of_text)
    real = torch.zeros((len(ids), length), dtype=torch.long)
    labels = torch.full((len(ids), length), NO_LABEL)
    rows, weights, columns, masks = [], [], [], []
    for number, (row, prompt) in enumerate(zip(ids, prompts, strict=True)):
        block, start = prompt.encoded.blocks[0], len(prompt.encoded.shared)
        tokens[number, : len(row)], real[number, : len(row)] = torch.tensor(row), 1
        for offset, target in block.targets:
            labels[number, start + offset + 1] = target
        rows.append(torch.tensor([start + offset for offset, _, _ in block.keyword_rows], device=device))
        weights.append(torch.tensor([pair for _, *pair in block.keyword_rows], device=device).reshape(-1, 2).mT)
        first = start + block.map_start
        columns.append((first, first + int(np.prod(prompt.encoded.images[-1].grid))))
        if block.mask is not None:
            masks.append(torch.from_numpy(shrink_mask(block.mask, mask_side)))
    pictures = [picture for prompt in prompts for picture in prompt.photographs]
    pixels, grids = pixel_values(pictures, config.vision.patch, config.vision.merge)
    inputs = {
        "input_ids": tokens, "attention_mask": real, "pixel_values": pixels, "image_grid_thw": grids,
        "mm_token_type_ids": (tokens == config.tokens.image).long(),
    }  # fmt: skip
    inputs = {name: value.to(device) for name, value in inputs.items()}
    return Batch(inputs, labels.to(device), rows, weights, columns, torch.stack(masks).to(device) if masks else None)


def maps_of(attentions: Sequence[torch.Tensor], batch: Batch) -> torch.Tensor:
    """float32[B, 2, N], abnormal and normal: mean over heads and the last layer of each group of attention
    [B, H, S, S] from keyword rows to the query image (paper eq. 5)."""
    group = len(attentions) // GROUPS
    tapped = attentions[group - 1 :: group]
    maps = []
    for number, (rows, weights, columns) in enumerate(zip(batch.rows, batch.weights, batch.columns, strict=True)):
        field = torch.stack([layer[number, :, rows, slice(*columns)].float().mean(dim=0) for layer in tapped])
        maps.append(weights @ field.mean(dim=0))
    return torch.stack(maps)
