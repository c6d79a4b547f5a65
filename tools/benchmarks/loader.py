"""loader: from photograph files to the vision tower's input, ours in threads, the peer's in as many processes.

Files are JPEGs at the size of training, as tools/prepare_data.py --side writes them. Ours yields uint8 patches, which
the device normalises; transformers' processor yields float32 patches in two temporal slices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from iadgpt_jax.data.images import read_image, resize_square
from iadgpt_jax.data.patches import to_patches
from iadgpt_jax.infer.prefetch import prefetch
from iadgpt_jax.models.qwen2_5_vl.config import VisionConfig
from iadgpt_jax.models.qwen2_5_vl.vision import IMAGE_MEAN, IMAGE_STD
from tools.benchmarks.loader_torch import data_loader
from tools.benchmarks.measure import Measurement, machine
from tools.benchmarks.pair import Pair

PHOTOGRAPHS, BATCH, SIDE = 128, 8, 448


def loader(pair: Pair) -> Measurement:
    side, vision, cores = max(SIDE, pair.side), pair.config.vision, machine()["cores"]
    paths = write_photographs(pair, side)
    batches = [paths[at : at + BATCH] for at in range(0, PHOTOGRAPHS, BATCH)]

    def load(batch: list[str]) -> np.ndarray:
        return np.stack([to_patches(resize_square(read_image(path), side), vision) for path in batch])

    def ours() -> np.ndarray:
        for patches in prefetch(load, batches, ahead=2 * cores, threads=cores):
            last = patches
        return last

    processor = Qwen2VLImageProcessorPil(patch_size=vision.patch, merge_size=vision.merge)
    workers = data_loader(paths, processor, BATCH, cores)

    def peer() -> np.ndarray:
        for pixels, _ in workers:
            last = pixels
        return last.numpy()

    difference = np.abs(as_processed(ours(), vision, side) - peer()).max()
    return Measurement(
        name="loader", unit="ms per image", pieces=PHOTOGRAPHS, ours=ours, peer=peer,
        agreement={"pixels": (float(difference), 1e-5)},
        work=f"{PHOTOGRAPHS} JPEG files of {side} pixels in batches of {BATCH}, {cores} threads or processes",
        target=2.0,
    )  # fmt: skip


def write_photographs(pair: Pair, side: int) -> list[str]:
    directory: Path = pair.directory / "photographs"
    directory.mkdir(exist_ok=True)
    paths = []
    for number, picture in enumerate(pair.photographs(PHOTOGRAPHS, side=side)):
        paths.append(str(directory / f"{number:03}.jpg"))
        Image.fromarray(picture).save(paths[-1], quality=92)
    return paths


def as_processed(patches: np.ndarray, vision: VisionConfig, side: int) -> np.ndarray:
    """uint8[B, P, 3·patch²] in window order -> float32[B·P, 3·2·patch²] in the peer's layout: normalised, merged tokens
    in raster order, each patch twice."""
    units, merge, windows = vision.window_units, vision.merge, side // vision.window
    split = patches.reshape(-1, windows, windows, units, units, merge**2, 3, 1, vision.patch**2)
    raster = split.transpose(0, 1, 3, 2, 4, 5, 6, 7, 8).astype(np.float32) / 255
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return np.repeat((raster - mean) / std, 2, axis=-2).reshape(-1, 2 * vision.patch_values)
