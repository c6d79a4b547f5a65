"""What tells one image from another: its size, the SHA-256 of its pixels, and a perceptual hash.

The perceptual hash (ImageHash's phash, 64 bits from the lowest frequencies) stays nearly the same when an image is
resized or encoded anew; the Hamming distance of two of them says how alike their images look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from iadgpt_jax.data.images import pixel_hash, read_image
from iadgpt_jax.errors import InputError
from iadgpt_jax.journal import Journal
from iadgpt_jax.optional import optional

BITS = 64
THREADS = 4
_PHASH_SIDE = 32  # of the grey picture that phash makes first


@dataclass(frozen=True)
class Fingerprint:
    """Of one image; `fault` is why it cannot be read, and then the rest is empty."""

    height: int = 0
    width: int = 0
    sha256: str = ""
    phash: int = 0
    fault: str = ""


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Of a photograph uint8[H, W, 3]. Raises InputError where ImageHash is not installed."""
    return Fingerprint(*image.shape[:2], pixel_hash(image), perceptual_hash(image))


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits of a photograph uint8[H, W, 3] or a grey one uint8[H, W]. Raises InputError without ImageHash."""
    bits = optional("imagehash", "ImageHash", "corpus").phash(Image.fromarray(image)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def all_orientations(image: np.ndarray) -> list[int]:
    """The perceptual hashes of a photograph uint8[H, W, 3], turned by quarters and mirrored: eight, its own first.

    What is turned is the small grey picture that the hash is made from, so rounding may flip a bit of the others.
    """
    grey = Image.fromarray(image).convert("L").resize((_PHASH_SIDE, _PHASH_SIDE), Image.Resampling.LANCZOS)
    small = np.asarray(grey)
    return [perceptual_hash(np.rot90(one, turns)) for one in (small, small[:, ::-1]) for turns in range(4)]


class Fingerprints:
    """Fingerprints of files, each computed once: they stay in a journal, by path, size and time of the file."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._known: dict[tuple[str, int, int], Fingerprint] = {}
        for _, entry in journal.entries():
            stamp = (entry.pop("path"), entry.pop("size"), entry.pop("time"))
            self._known[stamp] = Fingerprint(**entry)

    def of(
        self, root: Path, paths: Sequence[str],
        watch: Callable[[Iterator[Fingerprint], int], Iterable[Fingerprint]] = lambda done, total: done,
    ) -> list[Fingerprint]:  # fmt: skip
        """Of files below a folder, in order. watch: hands on the fingerprints as they are there, of so many."""
        optional("imagehash", "ImageHash", "corpus")  # before the first image is read
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                return list(watch(pool.map(lambda path: self._one(root, path), paths), len(paths)))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, root: Path, path: str) -> Fingerprint:
        found = os.stat(root / path)
        stamp = (path, found.st_size, found.st_mtime_ns)
        if stamp not in self._known:
            try:
                made = fingerprint(read_image(root / path))
            except InputError as error:
                made = Fingerprint(fault=str(error).replace(f"{root}/", ""))
            self._journal.append({"path": path, "size": stamp[1], "time": stamp[2]} | asdict(made))
            self._known[stamp] = made
        return self._known[stamp]


class Alike:
    """Perceptual hashes with names, and which of them is nearest to another one; linear in their number, in numpy."""

    def __init__(self) -> None:
        self._hashes = np.zeros(1024, np.uint64)
        self._names: list[str] = []

    def add(self, phash: int, name: str) -> None:
        if len(self._names) == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[len(self._names)] = phash
        self._names.append(name)

    def nearest(self, phash: int) -> tuple[int, str]:
        """(Hamming distance, name) of the first nearest; (BITS + 1, "") where there is none."""
        if not self._names:
            return BITS + 1, ""
        distances = np.bitwise_count(self._hashes[: len(self._names)] ^ np.uint64(phash))
        place = int(distances.argmin())
        return int(distances[place]), self._names[place]
