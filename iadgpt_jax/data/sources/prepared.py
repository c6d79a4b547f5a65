"""Datasets as tools/prepare_data.py writes them: TFDS with ArrayRecord files, plus an index in columns.

    dataset_info.json · features.json · <name>-<split>.array_record-…     readable by tfds.builder_from_directory
    index/                                                                what each record holds, without its pixels
    digests.json                                                          checksums of all these but the shards
    report.json · sheet.jpg                                               for people

ArrayRecord keeps checksums of its own in the shards, so a flipped bit is found there when a record is read, and
elsewhere when the dataset is opened.

TFDS decodes images through TensorFlow, seven seconds of import; here both directions hand it encoded bytes, so
TensorFlow is never imported.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iadgpt_jax.data.images import decode_image, decode_mask
from iadgpt_jax.data.sources.cache import DEFAULT_BYTES, SampleCache
from iadgpt_jax.data.sources.entry import TEST, TRAIN, VALIDATION, exchange_from_json
from iadgpt_jax.data.sources.index import FOLDER, Index, Records
from iadgpt_jax.data.sources.pixel_hashes import Watch, unwatched
from iadgpt_jax.data.sources.resize import squash
from iadgpt_jax.data.sources.sample import Conversation, Defect, Sample
from iadgpt_jax.digests import damage
from iadgpt_jax.errors import InputError

INFO_FILE = "dataset_info.json"
OLD_INDEX = "records.json"


def is_prepared(directory: str | Path) -> bool:
    """Whether a folder was written by tools/prepare_data.py."""
    directory = Path(directory)
    return (directory / INFO_FILE).is_file() and ((directory / FOLDER).is_dir() or (directory / OLD_INDEX).is_file())


def described(directory: Path) -> list[str]:
    """The files that say what is in the shards, relative to the dataset."""
    inside = sorted(f"{FOLDER}/{path.name}" for path in (directory / FOLDER).iterdir())
    return [INFO_FILE, "features.json", *inside]


class PreparedSource:
    """A `Source` over a prepared dataset; images are squashed to side x side where a side is given. Masks are stored at
    the photograph's full size and come at the image's, by the rule `mask_resize` (data/images.resize_mask).

    reduced: large JPEGs are read at a fraction of their size (data/images.decode_image).
    `categories` and `split` restrict it. `keys[index]` and `sha256[index]`, uint8[32], name each record and its
    original pixels without reading them. Records, keys and hashes are mapped from disk, not held
    in memory. Raises InputError where the directory or a chosen category is not as expected.
    """

    def __init__(
        self,
        directory: str | Path,
        side: int | None = None,
        categories: Sequence[str] | None = None,
        split: str | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        mask_resize: str = "max_pool",
        reduced: bool = False,
    ):
        self._reduced = side if reduced else None
        self._directory = Path(directory)
        if not is_prepared(directory):
            raise InputError(
                f"no prepared dataset in {directory}; write one with tools/prepare_data.py --out={directory}"
            )
        self.name = self._directory.resolve().name
        self.side, self.mask_resize = side, mask_resize
        self._categories, self._split = tuple(categories or ()), split
        self._cache = SampleCache(cache_bytes)
        known = dict.fromkeys(record.category for record in self._index.records.kinds)
        if unknown := [category for category in self._categories if category not in known]:
            raise InputError(f"no category {', '.join(unknown)} in {directory}; there are {', '.join(sorted(known))}")

    @property
    def records(self) -> Records:
        """The record of every index."""
        return self._chosen[1]

    @property
    def keys(self) -> Sequence[str]:
        """The key of every index."""
        keys, (rows, _) = self._index.keys, self._chosen
        return keys if rows is None else [keys[row] for row in rows]

    @property
    def sha256(self) -> np.ndarray:
        """uint8[N, 32]: the hash of every index's original pixels."""
        rows = self._chosen[0]
        return self._index.sha256 if rows is None else self._index.sha256[rows]

    @property
    def content(self) -> bytes:
        """The hashes of all pixels, and the sizes of the files that hold images and masks."""
        sizes = [f"{path.name}\0{path.stat().st_size}" for path in sorted(self._directory.glob("*array_record*"))]
        return self.sha256.tobytes() + "\n".join(sizes).encode(errors="surrogatepass")

    def pixel_hashes(self, indices: np.ndarray, watch: Watch = unwatched) -> tuple[np.ndarray, np.ndarray]:
        """As data/sources/pixel_hashes.py says. From the index alone, so there is nothing to watch."""
        rows = indices if self._chosen[0] is None else self._chosen[0][indices]
        order = np.argsort(rows)
        places = np.searchsorted(rows, self._index.more_rows, sorter=order)
        owners = order[np.minimum(places, len(rows) - 1)] if len(rows) else places[:0]
        found = rows[owners] == self._index.more_rows[: len(owners)]
        hashes = np.concatenate([self._index.sha256[rows], self._index.more_sha256[: len(owners)][found]])
        return hashes, np.concatenate([np.arange(len(rows)), owners[found]])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self._cache.get(range(len(self))[index], self._load)

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask that shows anything. Reads nothing but the index."""
        return self.records[index].masked

    def conversation(self, index: int) -> Conversation:
        """The words of a sample. Decodes no photograph."""
        return _conversation(self._example(index))

    def _example(self, index: int) -> dict[str, Any]:
        """What is stored of a sample, undecoded."""
        row = index if self._chosen[0] is None else int(self._chosen[0][index])
        split = self.records[index].split
        example = self._read(split, row - self._starts[split])
        if example["key"].decode() != self._index.keys[row]:
            raise InputError(f"{self._directory} does not match its index; run tools/prepare_data.py again")
        return example

    def _load(self, index: int) -> Sample:
        record, example = self.records[index], self._example(index)
        key = example["key"].decode()
        name = f"{key} in {self._directory}"
        image = decode_image(example["image"], name, self._reduced)
        if record.defective is False:
            mask = np.zeros(image.shape[:2], np.uint8)
        else:
            mask = decode_mask(example["mask"], f"the mask of {name}") if example["has_mask"] else None
        words = {field: example[field].decode() for field in ("defect", "cause", "remedy")}
        sample = Sample(
            image,
            mask,
            record.defective,
            record.category,
            record.split,
            key,
            captions=tuple(text.decode() for text in example["captions"]),
            defect=Defect(words["defect"], words["cause"], words["remedy"]) if words["defect"] else None,
            viewpoint=record.viewpoint,
            more_images=tuple(decode_image(data, name, self._reduced) for data in example["more_images"]),
            **_conversation(example)._asdict(),
        )
        return squash(sample, self.side, self.mask_resize)

    def _read(self, split: str, number: int) -> dict[str, Any]:
        """Example `number` of a split, undecoded."""
        try:
            return self._splits[split][number]
        except (RuntimeError, ValueError, LookupError, OSError, TypeError) as error:  # ArrayRecord's and TFDS's own
            raise InputError(
                f"cannot read record {number} of {split} in {self._directory} ({error}); its files are damaged: run "
                "tools/prepare_data.py again"
            ) from error

    @functools.cached_property
    def _index(self) -> Index:
        index = Index.read(self._directory)
        if what := damage(self._directory):
            raise InputError(f"{self._directory} is damaged ({what}); copy it again or run tools/prepare_data.py again")
        return index

    @functools.cached_property
    def _chosen(self) -> tuple[np.ndarray | None, Records]:
        """(int64[N] rows of the index, None where it is all of them; their records)."""
        records = self._index.records
        wanted = [
            (not self._categories or record.category in self._categories) and self._split in (None, record.split)
            for record in records.kinds
        ]
        if all(wanted):
            return None, records
        rows = np.flatnonzero(np.array(wanted)[records.which])
        return rows, Records(records.kinds, records.which[rows])

    @functools.cached_property
    def _starts(self) -> dict[str, int]:
        """Split name to the row of its first record."""
        splits = np.array([(TRAIN, VALIDATION, TEST).index(record.split) for record in self._index.records.kinds])
        of_rows = splits[self._index.records.which]  # rises
        return {split: int(np.searchsorted(of_rows, number)) for number, split in enumerate((TRAIN, VALIDATION, TEST))}

    @functools.cached_property
    def _splits(self) -> dict[str, Any]:
        """Split name to a random-access sequence of undecoded examples."""
        import tensorflow_datasets as tfds
        from google.protobuf import json_format

        try:
            builder = tfds.builder_from_directory(self._directory)
            raw = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
            return {split: builder.as_data_source(split, decoders=raw) for split in builder.info.splits}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, json_format.Error) as error:
            raise InputError(
                f"cannot read {INFO_FILE} and features.json in {self._directory} ({error}); run tools/prepare_data.py "
                "again"
            ) from error

    def __getstate__(self) -> dict[str, Any]:  # open and mapped files stay behind when a loader's worker gets its copy
        return {name: value for name, value in self.__dict__.items() if name not in _OPENED}


def _conversation(example: dict[str, Any]) -> Conversation:
    return Conversation(
        tuple(exchange_from_json(one) for one in json.loads(example["exchanges"].decode())),
        tuple(text.decode() for text in example["references"]),
        tuple(text.decode() for text in example.get("random_references", ())),  # earlier versions wrote none
    )


_OPENED = ("_splits", "_index", "_chosen", "_starts")
