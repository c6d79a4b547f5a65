"""Datasets as tools/prepare_data.py writes them: TFDS with ArrayRecord files, plus a table of contents.

    dataset_info.json · features.json · <name>-<split>.array_record-NNNNN     readable by tfds.builder_from_directory
    records.json                                                              what each record holds, without its pixels

TFDS decodes images through TensorFlow, seven seconds of import; here both directions hand it encoded bytes, so
TensorFlow is never imported.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iadgpt_jax.data.images import decode_image, decode_mask, encode_png
from iadgpt_jax.data.sources.cache import DEFAULT_BYTES, SampleCache
from iadgpt_jax.data.sources.folder import make_sample, squash
from iadgpt_jax.data.sources.sample import Record, Sample
from iadgpt_jax.errors import InputError

RECORDS_FILE = "records.json"
INFO_FILE = "dataset_info.json"
SHARD_EXAMPLES = 1000
FORMAT = 1  # of records.json


def is_prepared(directory: str | Path) -> bool:
    """Whether a folder was written by `write_prepared`."""
    return (Path(directory) / RECORDS_FILE).is_file() and (Path(directory) / INFO_FILE).is_file()


class PreparedSource:
    """A `Source` over a prepared dataset; images and masks are squashed to side x side where a side is given.

    `categories` and `split` restrict it; `hashes[index]` is the SHA-256 of the original pixels (for leakage checks).
    Raises InputError where the directory or a chosen category is not as expected.
    """

    def __init__(
        self,
        directory: str | Path,
        side: int | None = None,
        categories: Sequence[str] | None = None,
        split: str | None = None,
        cache_bytes: int = DEFAULT_BYTES,
    ):
        self._directory = Path(directory)
        contents = _read_contents(self._directory)
        self.name = self._directory.resolve().name
        self.side = side
        known = sorted({row["category"] for row in contents["records"]})
        unknown = [category for category in categories or () if category not in known]
        if unknown:
            raise InputError(f"no category {', '.join(unknown)} in {directory}; there are {', '.join(known)}")
        self._rows = [
            row
            for row in contents["records"]
            if (not categories or row["category"] in categories) and split in (None, row["split"])
        ]
        self.records = [Record(row["category"], row["split"], row["defect"] is not None) for row in self._rows]
        self.hashes: list[str] = [row["sha256"] for row in self._rows]
        self._cache = SampleCache(cache_bytes)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self._cache.get(range(len(self))[index], self._load)

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask that shows anything. Decodes the mask alone."""
        row, example = self._rows[index], self._example(index)
        name = f"the mask of {row['key']} in {self._directory}"
        return bool(example["has_mask"]) and bool(decode_mask(example["mask"], name).any())

    def _example(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        example = self._splits[row["split"]][row["position"]]
        if example["key"].decode() != row["key"]:
            raise InputError(f"{self._directory} does not match its {RECORDS_FILE}; run tools/prepare_data.py again")
        return example

    def _load(self, index: int) -> Sample:
        row, example = self._rows[index], self._example(index)
        name = f"{row['key']} in {self._directory}"
        image = decode_image(example["image"], name)
        if row["defect"] is None:
            mask = np.zeros(image.shape[:2], np.uint8)
        else:
            mask = decode_mask(example["mask"], f"the mask of {name}") if example["has_mask"] else None
        return squash(make_sample(self.records[index], row["key"], row["defect"], image, mask), self.side)

    @functools.cached_property
    def _splits(self) -> dict[str, Any]:
        """Split name to a random-access sequence of undecoded examples."""
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(self._directory)
        raw = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
        return {split: builder.as_data_source(split, decoders=raw) for split in builder.info.splits}

    def __getstate__(self) -> dict[str, Any]:  # open files stay behind when a loader's worker gets its copy
        return {name: value for name, value in self.__dict__.items() if name != "_splits"}


def write_prepared(directory: str | Path, name: str, examples: Iterable[dict[str, Any]]) -> None:
    """Write a prepared dataset into an existing empty directory, in the order given.

    Args:
      directory: where; nothing in it is valid before this returns.
      name: of the dataset, a Python identifier as TFDS asks.
      examples: dictionaries with image and mask (encoded bytes; mask None where nobody drew one), key, category, split,
        defect (None on good parts) and sha256.
    """
    import tensorflow_datasets as tfds

    directory = Path(directory)
    identity = tfds.core.DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=str(directory), module_name=__name__
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=_features(tfds), description="Photographs with defect masks (iadgpt_jax)."
    )
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=SHARD_EXAMPLES, file_format="array_record")
    rows: list[dict[str, Any]] = []
    positions: dict[str, int] = {}
    for example in examples:
        split = example["split"]
        if split not in positions:
            writer.initialize_splits([split])
        writer.add_examples({split: [_tfds_example(example)]})
        positions[split] = positions.get(split, -1) + 1
        words = {field: example[field] for field in ("key", "category", "split", "defect", "sha256")}
        rows.append({**words, "position": positions[split]})
    writer.close_all()
    # Last, so that a directory with a table of contents is a whole one.
    (directory / RECORDS_FILE).write_text(json.dumps({"format": FORMAT, "records": rows}, indent=0))


def _features(tfds: Any) -> Any:
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "mask": tfds.features.Image(shape=(None, None, 1)),  # nonzero: defective; black where has_mask is False
            "has_mask": tfds.features.Scalar(np.bool_),
            "label": tfds.features.ClassLabel(names=["good", "defective"]),
            "category": tfds.features.Text(),
            "defect": tfds.features.Text(),
            "key": tfds.features.Text(),
            "sha256": tfds.features.Text(),
        }
    )


def _tfds_example(example: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": example["image"],
        "mask": example["mask"] or encode_png(np.zeros((1, 1), np.uint8)),
        "has_mask": example["mask"] is not None,
        "label": "good" if example["defect"] is None else "defective",
        "category": example["category"],
        "defect": example["defect"] or "",
        "key": example["key"],
        "sha256": example["sha256"],
    }


def _read_contents(directory: Path) -> dict[str, Any]:
    if not is_prepared(directory):
        raise InputError(f"no prepared dataset in {directory}; write one with tools/prepare_data.py --out={directory}")
    contents = json.loads((directory / RECORDS_FILE).read_text())
    if contents["format"] != FORMAT:
        raise InputError(f"{directory} has format {contents['format']}, not {FORMAT}; run tools/prepare_data.py again")
    return contents
