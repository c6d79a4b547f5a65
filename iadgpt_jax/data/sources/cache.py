"""A bounded memory of decoded samples: photographs are read many times in training, and decoding dominates reading."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from iadgpt_jax.data.sources.sample import Sample

DEFAULT_BYTES = 512 * 2**20


class SampleCache:
    """The most recently used samples, up to a number of bytes. Safe under threads; pickled, it is empty."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES):
        self._max_bytes = max_bytes
        self._forget()

    def get(self, index: int, load: Callable[[int], Sample]) -> Sample:
        """The sample at an index, loaded if need be. Its arrays are shared, so they are made read-only."""
        with self._lock:
            if index in self._samples:
                self._samples.move_to_end(index)
                return self._samples[index]
        sample = load(index)
        for array in _arrays(sample):
            array.flags.writeable = False
        with self._lock:
            if index not in self._samples:
                self._samples[index] = sample
                self._bytes += _bytes_of(sample)
            while self._bytes > self._max_bytes:
                _, dropped = self._samples.popitem(last=False)
                self._bytes -= _bytes_of(dropped)
        return sample

    def _forget(self) -> None:
        self._samples: OrderedDict[int, Sample] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return {"_max_bytes": self._max_bytes}

    def __setstate__(self, state: dict[str, int]) -> None:
        self._max_bytes = state["_max_bytes"]
        self._forget()


def _bytes_of(sample: Sample) -> int:
    return sum(array.nbytes for array in _arrays(sample))


def _arrays(sample: Sample) -> list[np.ndarray]:
    return [array for array in (sample.image, sample.mask, *sample.more_images) if array is not None]
