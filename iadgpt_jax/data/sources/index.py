"""The table of contents of a prepared dataset, in columns: a million records are read from disk as they are needed.

    index/kinds_of_records.json    every different record once: category, split, verdict, viewpoint …
    index/record.npy               int32[N]: which of those an index is
    index/sha256.npy               uint8[N, 32]: of its pixels before any resizing
    index/more_*.npy               of the further images of conversations: sha256 uint8[M, 32], rows int64[M] (rising)
    index/keys.npy, key_ends.npy   its key: uint8[total] UTF-8 one after the other, int64[N] where each ends

N records in order of split, as their files are read.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import tokenize
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from iadgpt_jax.data.sources.entry import TEST, TRAIN, VALIDATION
from iadgpt_jax.data.sources.sample import Record
from iadgpt_jax.errors import InputError

FOLDER = "index"
FORMAT = 2  # 1 was records.json
_KINDS, _RECORD, _SHA256, _KEYS, _ENDS = (
    "kinds_of_records.json", "record.npy", "sha256.npy", "keys.npy", "key_ends.npy",
)  # fmt: skip
_MORE_SHA256, _MORE_ROWS = "more_sha256.npy", "more_rows.npy"


class Records(Sequence[Record]):
    """Records as a sequence that keeps each different one once: int32[N] `which`, into `kinds`."""

    def __init__(self, kinds: Sequence[Record], which: np.ndarray):
        self.kinds, self.which = list(kinds), which

    def __len__(self) -> int:
        return len(self.which)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return Records(self.kinds, self.which[index])
        return self.kinds[self.which[index]]

    def __iter__(self) -> Iterator[Record]:
        for start in range(0, len(self.which), 65536):
            yield from map(self.kinds.__getitem__, self.which[start : start + 65536].tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))


class Keys(Sequence[str]):
    """Keys as a sequence: UTF-8 bytes one after the other, and where each ends."""

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self._data, self._ends = data, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        start = int(self._ends[index - 1]) if index else 0
        return bytes(self._data[start : self._ends[index]]).decode(errors="replace")  # a damaged one names nothing


@dataclasses.dataclass(frozen=True)
class Index:
    """What a prepared dataset holds: records, keys and uint8[N, 32] hashes of the pixels, all of length N.

    A conversation may show further images: uint8[M, 32] `more_sha256` are theirs, int64[M] `more_rows` the records they
    belong to, rising.
    """

    records: Records
    keys: Keys
    sha256: np.ndarray
    more_sha256: np.ndarray
    more_rows: np.ndarray

    @classmethod
    def read(cls, directory: Path) -> Index:
        """The index in a prepared dataset, mapped from disk. Raises InputError where it is not of this format."""
        folder = directory / FOLDER
        try:
            contents = json.loads((folder / _KINDS).read_text())
            which, sha256, keys, ends = (
                np.load(folder / name, mmap_mode="r") for name in (_RECORD, _SHA256, _KEYS, _ENDS)
            )
            more = [np.load(folder / name, mmap_mode="r") for name in (_MORE_SHA256, _MORE_ROWS) if _hashed(folder)]
        except (OSError, ValueError, EOFError, RecursionError, tokenize.TokenError) as error:
            raise InputError(f"cannot read the index in {folder}: {error}; run tools/prepare_data.py again") from error
        if not isinstance(contents, dict) or contents.get("format") != FORMAT:
            named = contents.get("format") if isinstance(contents, dict) else None
            raise InputError(f"{directory} has format {named}, not {FORMAT}; prepare it again")
        try:
            kinds = [Record(**values) for values in contents["records"]]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{folder / _KINDS} holds no records ({error}); run tools/prepare_data.py again"
            ) from error
        if not _go_together(kinds, which, sha256, keys, ends):
            raise InputError(f"the files in {folder} do not go together; run tools/prepare_data.py again")
        if not more and any(kind.exchanges for kind in kinds):
            raise InputError(f"{directory} has no hashes of its conversations' further images; prepare it again")
        more_sha256, more_rows = more or (np.zeros((0, 32), np.uint8), np.zeros(0, np.int64))
        if not _rows_of_further_images(more_sha256, more_rows, which.size):
            raise InputError(f"the files in {folder} do not go together; run tools/prepare_data.py again")
        return cls(Records(kinds, np.asarray(which)), Keys(keys, ends), sha256, more_sha256, more_rows)


def _hashed(folder: Path) -> bool:
    """Whether further images have their hashes here: the first datasets of this format lack them."""
    return (folder / _MORE_ROWS).is_file()


def _rows_of_further_images(sha256: np.ndarray, rows: np.ndarray, count: int) -> bool:
    """Whether these are hashes of further images, each of one of `count` records."""
    typed = (sha256.dtype, rows.dtype) == (np.uint8, np.int64)
    if not typed or rows.ndim != 1 or sha256.shape != (rows.size, 32):
        return False
    return not rows.size or bool(0 <= rows.min() and rows.max() < count)


def _go_together(kinds, which: np.ndarray, sha256: np.ndarray, keys: np.ndarray, ends: np.ndarray) -> bool:
    """Whether shapes and types are those of one index, and what points elsewhere points to what is there."""
    count = which.size
    typed = (which.dtype, sha256.dtype, keys.dtype, ends.dtype) == (np.int32, np.uint8, np.uint8, np.int64)
    if not typed or which.shape != (count,) or sha256.shape != (count, 32) or ends.shape != (count,) or keys.ndim != 1:
        return False
    if not count:
        return keys.size == 0
    known = all(isinstance(kind.category, str) and kind.split in (TRAIN, VALIDATION, TEST) for kind in kinds)
    inside = known and 0 <= which.min() and which.max() < len(kinds)
    return bool(inside and ends[0] >= 0 and (np.diff(ends) >= 0).all() and ends[-1] == keys.size)


def write_index(directory: Path, rows: Iterable[tuple[Record, str, Sequence[str]]]) -> None:
    """Write the index of a dataset. rows: (record, key, SHA-256 in hex of each of its images) in order."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    numbers: dict[Record, int] = {}
    which, ends = array("i"), array("q")  # int32, int64
    hashes, keys, more_hashes, more_rows = bytearray(), bytearray(), bytearray(), array("q")
    for row, (record, key, (sha256, *more)) in enumerate(rows):
        which.append(numbers.setdefault(record, len(numbers)))
        keys += key.encode()
        ends.append(len(keys))
        hashes += bytes.fromhex(sha256)
        more_hashes += bytes.fromhex("".join(more))
        more_rows.extend([row] * len(more))
    kinds = [dataclasses.asdict(record) for record in numbers]
    (folder / _KINDS).write_text(json.dumps({"format": FORMAT, "records": kinds}, indent=0, ensure_ascii=False))
    np.save(folder / _RECORD, np.frombuffer(which, np.int32))
    np.save(folder / _SHA256, np.frombuffer(hashes, np.uint8).reshape(-1, 32))
    np.save(folder / _MORE_SHA256, np.frombuffer(more_hashes, np.uint8).reshape(-1, 32))
    np.save(folder / _MORE_ROWS, np.frombuffer(more_rows, np.int64))
    np.save(folder / _KEYS, np.frombuffer(keys, np.uint8))
    np.save(folder / _ENDS, np.frombuffer(ends, np.int64))
