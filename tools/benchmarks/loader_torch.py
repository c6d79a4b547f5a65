"""The peer's image loading: a torch Dataset that decodes a file and runs transformers' image processor. It is a file of
its own so that the DataLoader's worker processes import nothing of ours.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


class Photographs(Dataset):
    """Files -> (pixel_values float32[P, 3·2·patch²], grid int64[1, 3])."""

    def __init__(self, paths: list[str], processor: Qwen2VLImageProcessorPil):
        self.paths, self.processor = paths, processor

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(self.paths[index]) as image:
            out = self.processor(images=image.convert("RGB"), return_tensors="pt")
        return out["pixel_values"], out["image_grid_thw"]


def collate(items: list) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch in the model's layout: the patches of all images concatenated."""
    pixels, grids = zip(*items, strict=True)
    return torch.cat(pixels), torch.cat(grids)


def data_loader(paths: list[str], processor: Qwen2VLImageProcessorPil, batch: int, workers: int) -> DataLoader:
    """Persistent workers, so that only the first pass pays for starting them."""
    return DataLoader(
        Photographs(paths, processor), batch_size=batch, num_workers=workers, collate_fn=collate,
        multiprocessing_context="spawn", persistent_workers=True, prefetch_factor=2,
    )  # fmt: skip
