"""Whether two records show the same photograph, whatever their files are called: the SHA-256 of original pixels.

A source of photographs has a method `pixel_hashes(indices, watch) -> (hashes, owners)`: uint8[M, 32] hashes of all
images of the records at int64[N] `indices` (a conversation may show several), and int64[M] the place in `indices` that
each belongs to. `watch(items, total)` may report progress over files. An image that cannot be read has no pixels to
compare, and no hash. Sources that draw their images have no such method.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from iadgpt_jax.data.images import pixel_hash, read_image
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.sources.subset import Subset
from iadgpt_jax.errors import InputError
from iadgpt_jax.progress import progress

Watch = Callable[[Iterable, int], Iterable]


def unwatched(items: Iterable, total: int) -> Iterable:
    return items


def hashed_aloud(items: Iterable, total: int) -> Iterable:
    """Print progress where there is anything to hash."""
    return progress(items, total, "hashing", "photographs") if total else items


def hashes_of(source: Source, indices: np.ndarray, watch: Watch = unwatched) -> tuple[np.ndarray, np.ndarray] | None:
    """(hashes, owners) as above; None of a source that draws its images."""
    if isinstance(source, Subset):
        return hashes_of(source.whole, source.rows[indices], watch)
    read = getattr(source, "pixel_hashes", None)
    return None if read is None else read(indices, watch)


def hash_files(paths: Sequence[Path], watch: Watch) -> list[bytes | None]:
    """The hash of each image file, None of one that cannot be read. Decoded by as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(watch(pool.map(_hash_file, paths), len(paths)))


def _hash_file(path: Path) -> bytes | None:
    try:
        return bytes.fromhex(pixel_hash(read_image(path)))
    except InputError:  # whoever trains on it or evaluates it will be told
        return None
