"""Photographs in and inspections out: any image as RGB, squashed to the model's square and cut into Qwen's patches."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as published with Qwen2.5-VL
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # Pillow goes by content, and would hand an EPS file to Ghostscript
MAX_PIXELS = 80_000_000
BITS_PER_SAMPLE = 258  # TIFF tag


@dataclass(frozen=True)
class Inspection:
    """margin: log-odds of the answer that means "defective" against the other, above 0 where it is the likelier: what
    to rank and compare by. map float32[h, w]: attention of the anomaly words to every merged token of the query.
    answer: the likelier of the two verdicts, in the words of the detection prompt ("Yes", it is normal, or "No").
    explanation: the answer to what is wrong ("" where none was asked for). size: (height, width) of the query's
    photograph in pixels.
    """

    margin: float
    map: np.ndarray
    answer: str
    explanation: str
    size: tuple[int, int]

    @property
    def score(self) -> float:
        """Probability, in [0, 1], of the answer that means "defective": for people. Sure verdicts tie in it."""
        return float(np.exp(-np.logaddexp(0.0, -self.margin)))

    @property
    def defective(self) -> bool:
        """Whether the answer that means "defective" is the likelier one."""
        return self.margin > 0

    @property
    def pixel_map(self) -> np.ndarray:
        """float32[height, width]: the map brought to the photograph's size bilinearly."""
        return functional.interpolate(torch.from_numpy(self.map)[None, None], self.size, mode="bilinear")[0, 0].numpy()


def several(value) -> list:
    """A list of photographs, also where just one was given."""
    one = isinstance(value, (str, Path, Image.Image)) or (isinstance(value, np.ndarray) and value.ndim < 4)
    return [value] if one else list(value)


def photograph(value) -> np.ndarray:
    """uint8[H, W, 3], upright, from a path, a Pillow image or an array uint8[H, W, 3] or grey uint8[H, W]."""
    if isinstance(value, (str, Path)):
        return opened(Path(value))
    if isinstance(value, Image.Image):
        return to_rgb(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.size:
        if value.ndim == 2:
            return np.repeat(value[..., None], 3, axis=-1)
        if value.ndim == 3 and value.shape[-1] == 3:
            return value
    array = isinstance(value, np.ndarray)
    told = f"an array {value.dtype}{list(value.shape)}" if array else f"a {type(value).__name__}"
    raise ValueError(f"{told} is no photograph: give a path, a Pillow image or an array uint8[height, width, 3]")


def opened(path: Path) -> np.ndarray:
    """The photograph in a file. Raises ValueError for what is none, is too large or holds several pictures."""
    if path.exists() and not path.is_file():  # reading a FIFO could wait for ever
        raise ValueError(f"{path} is no ordinary file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is stricter
            image = Image.open(path, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image; expected one of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large; reduce it or cut it into tiles") from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{path} is too large ({image.width}x{image.height} pixels, at most {MAX_PIXELS:,})")
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise ValueError(f"{path} holds several pictures, an animation or pages; save one as plain PNG")
        return to_rgb(image)


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8[H, W, 3], upright; 16-bit grey is scaled by 1/257, transparency dropped."""
    twelve = image.format == "TIFF" and image.tag_v2.get(BITS_PER_SAMPLE) == (12,)
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save the image with 8 or 16 bits")
    if image.mode == "I":
        raise ValueError("pixels of 32 bits, or signed ones, have no agreed range; save the image with 8 or 16 bits")
    if image.mode in SIXTEEN_BITS:
        grey, white = np.asarray(image), 4095 if twelve else 65535
        if not twelve and 0 < (lightest := int(grey.max(initial=0))) < 2**14:
            warnings.warn(f"a 16-bit image is dark: its lightest pixel has {lightest} of 65535", stacklevel=2)
        table = np.clip(np.round(np.arange(65536) * (255 / white)), 0, 255).astype(np.uint8)
        return np.repeat(table[grey][..., None], 3, axis=-1)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def square(image: np.ndarray, side: int) -> np.ndarray:
    """A photograph squashed to uint8[side, side, 3] by antialiased bicubic interpolation."""
    if image.shape[:2] == (side, side):
        return image
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def pixel_values(images: list[np.ndarray], patch: int, merge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(float32[patches, 3·2·patch²], grid int64[images, 3]) of images whose sides are whole merged tokens, as Qwen's
    image processor lays them out: merged token by merged token, both temporal slices of a patch alike."""
    rows, grids = [], []
    for image in images:
        high, wide = image.shape[0] // patch, image.shape[1] // patch
        split = image.reshape(high // merge, merge, patch, wide // merge, merge, patch, 3)
        ordered = split.transpose(0, 3, 1, 4, 6, 2, 5).reshape(high * wide, 3, 1, patch, patch)
        values = ordered.astype(np.float32) / 255 - np.array(IMAGE_MEAN, np.float32)[:, None, None, None]
        values /= np.array(IMAGE_STD, np.float32)[:, None, None, None]
        rows.append(np.repeat(values, 2, axis=2).reshape(high * wide, -1))
        grids.append((1, high, wide))
    return torch.from_numpy(np.concatenate(rows)), torch.tensor(grids)
