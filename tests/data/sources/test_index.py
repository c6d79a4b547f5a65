"""The index of a prepared dataset is small, is mapped and not read, and holds what was written."""

import dataclasses
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iadgpt_jax.data.sources.index import FOLDER, Index, Records, write_index
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.sources.sample import Record
from iadgpt_jax.errors import InputError
from tests.data.sources import trees


def rows(count: int):
    for number in range(count):
        record = Record(f"part_{number % 7}", "train", number % 3 == 0, viewpoint=f"C{number % 5}")
        yield record, f"part/größe/{number:06d}.png", (hashlib.sha256(str(number).encode()).hexdigest(),)


def test_rows_come_back_as_they_were_written(tmp_path):
    write_index(tmp_path, rows(1000))
    index = Index.read(tmp_path)
    assert len(index.records.kinds) == 70  # 7 · 2 · 5, not 1000
    for number, (record, key, (sha256,)) in enumerate(rows(1000)):
        assert (index.records[number], index.keys[number]) == (record, key)
        assert bytes(index.sha256[number]).hex() == sha256
    assert list(index.records) == [record for record, _, _ in rows(1000)]
    assert index.keys[-1] == "part/größe/000999.png" and index.keys.index("part/größe/000007.png") == 7
    assert index.records[10:12] == [record for record, _, _ in rows(12)][10:]


def test_a_row_weighs_little_and_nothing_is_held_in_memory(tmp_path):
    write_index(tmp_path, rows(5000))
    size = sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir())
    assert size / 5000 < 80  # 4 for the record, 32 for the hash, 8 for the key's end, 23 for the key
    index = Index.read(tmp_path)
    assert isinstance(index.sha256, np.memmap)


def overwrite(name: str, to: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(to)


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


def store(name: str, array) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


KINDS = "kinds_of_records.json"
DAMAGE = {
    "missing": lambda folder: (folder / "keys.npy").unlink(),
    "another format": replace(KINDS, '"format": 2', '"format": 9'),
    "no array": overwrite("record.npy", b"none"),
    "empty": overwrite("sha256.npy", b""),
    "a header cut off": lambda folder: overwrite(
        "record.npy", (folder / "record.npy").read_bytes().replace(b"), }", b" , }")
    )(folder),
    "no object": overwrite(KINDS, b"[]"),
    "no records": overwrite(KINDS, b'{"format": 2}'),
    "other records": overwrite(KINDS, b'{"format": 2, "records": [{"colour": "red"}]}'),
    "an unknown split": replace(KINDS, '"train"', '"trian"'),
    "a kind that is not there": store("record.npy", np.full(10, 99, np.int32)),
    "fewer hashes": store("sha256.npy", np.zeros((3, 32), np.uint8)),
    "keys that end before they start": store("key_ends.npy", np.arange(10, 0, -1, np.int64)),
    "keys that end behind the last": store("key_ends.npy", np.arange(10_000, 10_010, dtype=np.int64)),
    "other numbers": store("record.npy", np.zeros(10, np.float64)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_one_line(damage, tmp_path):
    write_index(tmp_path, rows(10))
    DAMAGE[damage](tmp_path / FOLDER)
    with pytest.raises(InputError, match="again"):
        Index.read(tmp_path)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "folder-train.array_record-00000-of-00001"])
@pytest.mark.parametrize("damage", ["empty", "half", "missing", "other bytes"])
def test_a_damaged_dataset_is_one_line(name, damage, tmp_path, monkeypatch):
    monkeypatch.setattr("iadgpt_jax.data.sources.prepare.draw_sheet", lambda directory: b"")
    trees.draw("folder", tmp_path / "parts")
    out = tmp_path / "out"
    prepare(Request("folder", tmp_path / "parts", out), say=lambda line: None)
    file = out / name
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "half": data[: len(data) // 2], "other bytes": b"\xff" * len(data)}[damage])
    with pytest.raises(InputError, match="tools/prepare_data.py"):
        PreparedSource(out)[0]


def test_a_part_of_a_dataset_is_the_rows_that_were_chosen(tmp_path):
    drawn = trees.draw("mvtec_loco", tmp_path / "tree")
    prepare(Request("mvtec_loco", tmp_path / "tree", tmp_path / "out"), say=lambda line: None)
    whole, part = PreparedSource(tmp_path / "out"), PreparedSource(tmp_path / "out", split="test")
    keys = [key for key, told in drawn.records.items() if told.split == "test"]
    assert list(part.keys) == keys and len(part.sha256) == len(part.records) == len(keys)
    start = len(whole) - len(part)
    for index in range(len(part)):
        assert part[index].key == whole[start + index].key and part.records[index] == whole.records[start + index]
        np.testing.assert_array_equal(part.sha256[index], whole.sha256[start + index])


def test_a_copy_for_a_worker_carries_no_index(tmp_path):
    trees.draw("mvtec_ad", tmp_path / "tree")
    prepare(Request("mvtec_ad", tmp_path / "tree", tmp_path / "out"), say=lambda line: None)
    source = PreparedSource(tmp_path / "out")
    source[0]
    data = pickle.dumps(source)
    assert len(data) < 500 and pickle.loads(data)[3].key == source[3].key


def test_records_equal_those_of_a_list():
    record = Record("bolt", "train", False)
    other = dataclasses.replace(record, defective=True)
    records = Records([record, other], np.array([0, 1, 0], np.int32))
    assert records == [record, other, record] and records != [record, record, record] and records[-1] is record
