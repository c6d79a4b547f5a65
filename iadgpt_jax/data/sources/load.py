"""The pixels of an entry: image, united mask, and what its files turned out to be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iadgpt_jax.data.images import decode_image, decode_mask, read_bytes, upright_size
from iadgpt_jax.data.sources.entry import Entry, LeftOut
from iadgpt_jax.errors import InputError


@dataclass(frozen=True)
class Loaded:
    """An entry with its pixels. `data` are the bytes of its file; `image` uint8[H, W, 3], `mask` uint8[H, W] in {0, 1}.

    `entry.defect` is decided: of an entry whose mask decides, it is what the mask says.
    """

    entry: Entry
    data: bytes
    image: np.ndarray
    mask: np.ndarray | None  # None: no usable one, or nobody said whether the part is good
    more_data: tuple[bytes, ...] = ()
    more_images: tuple[np.ndarray, ...] = ()


def load_entry(
    root: Path, entry: Entry, left_out: list[LeftOut] | None = None, side: int | None = None
) -> Loaded:  # fmt: skip
    """The pixels of an entry at full size.

    side: the image will be squashed to side x side and may come smaller (`decode_image`); masks come at full size.
    left_out: faults of masks go here, and the image is kept without a mask; None: they are errors (an all-black mask
    is none: it says as little as no mask). Raises InputError for an image that cannot be read, and for a mask that
    cannot be read where nothing else tells good from defective.
    """
    decode = functools.partial(decode_image, side=side)
    data, image = _read(decode, root / entry.image)
    size = image.shape[:2] if side is None else upright_size(data, str(root / entry.image))
    others = [_read(decode, root / path) for path in entry.more_images]
    more_data, more = tuple(data for data, _ in others), tuple(image for _, image in others)
    if entry.defect is None:
        return Loaded(entry, data, image, np.zeros(image.shape[:2], np.uint8), more_data, more)
    masks = []
    for path in entry.masks:
        try:
            masks.append(_mask(root, path, entry, size))
        except InputError as error:
            if left_out is None or entry.mask_decides:
                raise
            left_out.append(LeftOut(path, f"{_without(error, root)}; its image is kept without a mask"))
    united = np.maximum.reduce(masks) if masks else None
    if entry.mask_decides and (united is None or not united.any()):
        if united is None:
            raise InputError(f"{root / entry.image} has no mask, and nothing else tells whether it is good; add one")
        return Loaded(replace(entry, defect=None), data, image, united, more_data, more)
    if united is not None and not united.any():
        if left_out is not None:
            left_out.append(
                LeftOut(entry.masks[0], "an all-black mask of a defective image; it is kept without a mask")
            )
        united = None
    return Loaded(entry, data, image, united, more_data, more)


def _mask(root: Path, path: str, entry: Entry, size: tuple[int, int]) -> np.ndarray:
    _, mask = _read(decode_mask, root / path)
    if mask.shape != size:
        raise InputError(
            f"mask {root / path} is {mask.shape[1]}x{mask.shape[0]} but its image {root / entry.image} is "
            f"{size[1]}x{size[0]}; they must show the same pixels"
        )
    return mask


def _read(decode: Callable[[bytes, str], np.ndarray], path: Path) -> tuple[bytes, np.ndarray]:
    """The bytes of a file and what they decode to; whatever a decoder trips over in a damaged file is an InputError."""
    data = read_bytes(path)
    try:
        return data, decode(data, str(path))
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
        raise InputError(f"cannot decode {path}: {type(error).__name__} {error}; replace the file") from error


def _without(error: InputError, root: Path) -> str:
    return str(error).replace(f"{root}/", "")
