"""Photographs and masks: files of every format and pixel mode that are read, and some that are not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from iadgpt_jax.data.images import MAX_PIXELS, decode_image, decode_mask, stores_pixels_plainly, upright_size
from tools.fuzzing.mutate import bytes_of
from tools.fuzzing.run import Case

SAVED = {
    "PNG": (("1", {}), ("L", {}), ("LA", {}), ("P", {}), ("RGB", {}), ("RGBA", {}), ("I;16", {})),
    "JPEG": (("L", {}), ("RGB", {}), ("CMYK", {}), ("RGB", {"progressive": True})),
    "BMP": (("1", {}), ("L", {}), ("P", {}), ("RGB", {})),
    "TIFF": (("L", {}), ("RGB", {}), ("I;16", {}), ("F", {}), ("RGBA", {}), ("CMYK", {}),
             ("RGB", {"compression": "tiff_lzw"}), ("RGB", {"compression": "jpeg"}), ("1", {"compression": "group4"}),
             ("RGB", {"compression": "tiff_adobe_deflate"})),
    "WEBP": (("RGB", {}), ("RGBA", {"lossless": True})),
    "GIF": (("P", {}),),
}  # fmt: skip


def prepared(folder: Path) -> Case:
    """A case: one file, decoded as a photograph, as one that is reduced, or as a mask."""
    warnings.simplefilter("ignore", UserWarning)  # Pillow's, about what it makes of damaged TIFF files
    files = list(valid())

    def case(rng: Random) -> None:
        data = bytes_of(rng.choice(files), rng)
        kind = rng.randrange(4)
        if kind == 0:
            check(decode_image(data, "a photograph"), 3)
        elif kind == 1:
            check(decode_image(data, "a photograph", side=4), 3)
        elif kind == 2:
            mask = decode_mask(data, "a mask")
            check(mask, 2)
            assert mask.max(initial=0) <= 1
        else:
            height, width = upright_size(data, "a photograph")
            assert 0 < height * width <= MAX_PIXELS
            stores_pixels_plainly(data, "a photograph")

    return case


def check(pixels: np.ndarray, dimensions: int) -> None:
    assert pixels.dtype == np.uint8 and pixels.ndim == dimensions and 0 < pixels[..., :1].size <= 3 * MAX_PIXELS


def valid() -> Iterator[bytes]:
    """Small files, with and without an orientation."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (20, 17, 3), dtype=np.uint8))
    for kind, settings in SAVED.items():
        for mode, options in settings:
            if mode == "I;16":
                image = Image.fromarray(rng.integers(0, 65536, (20, 17), dtype=np.uint16))
            else:
                image = colours.convert(mode)
            yield saved(image, kind, **options)
            if kind in ("JPEG", "TIFF", "WEBP", "PNG"):
                exif = Image.Exif()
                exif[0x0112] = 6
                yield saved(image, kind, exif=exif, **options)
    yield saved(colours, "TIFF", save_all=True, append_images=[colours])
    yield saved(colours, "WEBP", save_all=True, append_images=[colours.rotate(90)])


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
