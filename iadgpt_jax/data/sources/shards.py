"""One shard of a prepared dataset: its entries read, encoded and written to one ArrayRecord file.

A shard is a pure function of its plan: same bytes whoever writes it, however often. It is written aside and renamed,
and the list of its rows is written last, so a shard that has its list is whole.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iadgpt_jax.data.image_remarks import collected
from iadgpt_jax.data.images import encode_png, pixel_hash, resize_square, stores_pixels_plainly
from iadgpt_jax.data.sources.entry import LeftOut, exchange_to_json
from iadgpt_jax.data.sources.load import Loaded, load_entry
from iadgpt_jax.data.sources.plan import Shard, entries_of
from iadgpt_jax.data.sources.sample import Record
from iadgpt_jax.errors import InputError

ROWS, DATA = "rows", "dataset"  # folders in the work folder
LABELS = ("good", "defective", "unknown")


@dataclass(frozen=True)
class Job:
    """What it takes to write shards: of the dataset `name` in folder `root`, at `side` pixels, into folder `work`."""

    name: str
    root: str
    work: str
    side: int  # 0: as large as they are

    def shard_file(self, shard: Shard) -> Path:
        """As TFDS calls it."""
        name = f"{self.name}-{shard.split}.array_record-{shard.number:05d}-of-{shard.of:05d}"
        return Path(self.work) / DATA / name

    def rows_file(self, shard: Shard) -> Path:
        return Path(self.work) / ROWS / f"{shard.name}.json"


@dataclass(frozen=True)
class ShardRows:
    """What a shard holds: (record, key, SHA-256 in hex of each of its images) of every example, what was left out,
    how many bytes the examples have, and what was odd about images that could be read: what -> (how often, the path of
    the first)."""

    rows: tuple[tuple[Record, str, tuple[str, ...]], ...]
    left_out: tuple[LeftOut, ...]
    size: int
    remarks: Mapping[str, tuple[int, str]]


def is_written(job: Job, shard: Shard) -> bool:
    """Whether a shard is whole."""
    return job.rows_file(shard).is_file() and job.shard_file(shard).is_file()


def remove_unfinished(job: Job) -> None:
    """Remove what processes were writing that are no more."""
    for aside in (*Path(job.work, DATA).glob(".*"), *Path(job.work, ROWS).glob("*.aside")):
        aside.unlink(missing_ok=True)


def write_shard(job: Job, shard: Shard) -> str:
    """Write one shard, unless it is there already; returns its name. Nothing is wrong with a shard without examples.

    Raises OSError where there is no room for it.
    """
    if is_written(job, shard):
        return shard.name
    target = job.shard_file(shard)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    rows, left_out, size = [], [], 0
    with _writer(aside) as write, collected() as remarks:
        for loaded in _loaded(job, shard, left_out):
            example, hashes = make_example(loaded, job.side)
            data = _serialized(example)
            write(data)
            size += len(data)
            rows.append([asdict(loaded.entry.record(masked=loaded.mask is not None)), loaded.entry.key, hashes])
    _rename(aside, target)
    listed = {"rows": rows, "left_out": [item.to_json() for item in left_out], "size": size}
    listed["remarks"] = _counted(remarks, job.root)
    list_aside = job.rows_file(shard).with_suffix(f".{os.getpid()}.aside")
    list_aside.write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")
    _rename(list_aside, job.rows_file(shard))
    return shard.name


def read_rows(job: Job, shard: Shard) -> ShardRows:
    """The list of a shard that is written."""
    listed = json.loads(job.rows_file(shard).read_text(encoding="utf-8"))
    rows = tuple((Record(**record), key, tuple(hashes)) for record, key, hashes in listed["rows"])
    remarks = {what: (count, first) for what, (count, first) in listed.get("remarks", {}).items()}
    return ShardRows(rows, tuple(LeftOut(**item) for item in listed["left_out"]), listed["size"], remarks)


def _counted(remarks: Iterable[tuple[str, str]], root: str) -> dict[str, tuple[int, str]]:
    """(path, what) of each remark as what -> (how often, the first path); of `what` only the part before its colon,
    since numbers of single images come after it."""
    counts: dict[str, tuple[int, str]] = {}
    for name, what in remarks:
        kind = what.split(":")[0]
        count, first = counts.get(kind, (0, LeftOut(name.removeprefix(f"{root}/"), "").to_json()["path"]))
        counts[kind] = count + 1, first
    return counts


def make_example(loaded: Loaded, side: int) -> tuple[dict[str, Any], list[str]]:
    """(example for `features`, SHA-256 in hex of the original pixels of each of its images).

    side: images are squashed to it, 0: are not. Files that need no change travel as they are, all others as lossless
    PNG. Masks keep the photograph's full size: training and metrics resize them by different rules.
    """
    entry, mask = loaded.entry, loaded.mask
    facts = entry.facts()
    verdict = "unknown" if entry.defect == "" else "good" if entry.defect is None else "defective"
    example = {
        "image": _encoded(loaded.data, loaded.image, side, entry.key),
        "mask": encode_png(np.zeros((1, 1), np.uint8) if mask is None else mask * 255),
        "has_mask": mask is not None,
        "label": verdict,
        "category": entry.category,
        "defect": facts.kind if facts else "",
        "cause": facts.cause if facts else "",
        "remedy": facts.remedy if facts else "",
        "viewpoint": entry.viewpoint,
        "captions": list(entry.captions),
        "more_images": [
            _encoded(data, image, side, entry.key)
            for data, image in zip(loaded.more_data, loaded.more_images, strict=True)
        ],
        "exchanges": json.dumps([exchange_to_json(one) for one in entry.exchanges], ensure_ascii=False),
        "references": list(entry.references),
        "random_references": list(entry.random_references),
        "key": entry.key,
    }
    # Before resizing: the same photograph at another side is still the same.
    hashes = [pixel_hash(image) for image in (loaded.image, *loaded.more_images)]
    return example | {"sha256": hashes[0]}, hashes


def features() -> Any:
    """What TFDS is told of an example."""
    import tensorflow_datasets as tfds

    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "mask": tfds.features.Image(shape=(None, None, 1)),  # full size, nonzero: defective; else one pixel
            "has_mask": tfds.features.Scalar(np.bool_),
            "label": tfds.features.ClassLabel(names=list(LABELS)),
            "category": text(),
            "defect": text(),
            "cause": text(),
            "remedy": text(),
            "viewpoint": text(),
            "captions": tfds.features.Sequence(text()),
            "more_images": tfds.features.Sequence(text()),  # encoded: TFDS cannot leave images in a sequence undecoded
            "exchanges": text(),  # JSON: [{"question", "answer", "options", "type"}]
            "references": tfds.features.Sequence(text()),
            "random_references": tfds.features.Sequence(text()),
            "key": text(),
            "sha256": text(),
        }
    )


@functools.cache
def _serializer() -> tuple[Any, Any]:
    import tensorflow_datasets as tfds

    made = features()
    return tfds.core.example_serializer.ExampleSerializer(made.get_serialized_info()), made


def _serialized(example: dict[str, Any]) -> bytes:
    serializer, features = _serializer()
    # Deterministic: by default the order of an example's fields differs from process to process.
    return serializer.get_tf_example(features.encode_example(example)).SerializeToString(deterministic=True)


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """What appends to a new ArrayRecord file, which is whole afterwards. Raises OSError where there is no room."""
    from array_record.python import array_record_module

    def told(do: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return do(*arguments)
        except RuntimeError as error:  # ArrayRecord's own, whatever the system said
            raise OSError(errno.EIO, str(error).split(";")[0]) from error

    writer = told(array_record_module.ArrayRecordWriter, str(path), "group_size:1")  # one by one: read at random
    yield lambda data: told(writer.write, data)
    told(writer.close)


def _loaded(job: Job, shard: Shard, left_out: list[LeftOut]) -> Iterator[Loaded]:
    root = Path(job.root)
    for entry in entries_of(Path(job.work), shard):
        try:
            yield load_entry(root, entry, left_out)
        except InputError as error:
            left_out.append(LeftOut(entry.image, str(error).replace(f"{root}/", "")))
            left_out += [LeftOut(path, f"belongs to {entry.image}, which is left out") for path in entry.files[1:]]


def _encoded(data: bytes, image: np.ndarray, side: int, name: str) -> bytes:
    squashed = resize_square(image, side) if side else image
    return data if squashed is image and stores_pixels_plainly(data, name) else encode_png(squashed)


def _rename(aside: Path, target: Path) -> None:
    """Rename a file that is on disk, not only in memory."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(target)
