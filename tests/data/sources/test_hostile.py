"""Indexes that came with a dataset may say anything, and disks fill up: one line says so, and what is whole stays."""

import copy
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from iadgpt_jax.data.sources import index, plan, prepare, runners, shards
from iadgpt_jax.data.sources.datasets import DATASETS
from iadgpt_jax.data.sources.prepare import Request, Runner
from iadgpt_jax.errors import InputError
from tests.data.sources import trees

NAMES = ["../outside.png", "a\0b.png", "x" * 60_000 + ".png", "\ud800.png", "\udcff.png", "..", "", "a\nb"]
VALUES = [*NAMES, 5, True, None, [], ["x"], {"a": 1}, [[]]]
INDEXES = {
    "real_iad": "realiad_jsons/usb.json",
    "mmad": "mmad.json",
    "anomaly_instruct": "mvtec/bottle_zero_shot.json",
    "visa_dr": "VisA/visa_dr.json",
}


def planned(name: str, root: Path) -> list[str]:
    """The files that a preparation of a tree would read."""
    request = Request(name, root, root.parent / "out")
    request.work.mkdir(exist_ok=True)
    made = prepare._plan(request, DATASETS[name], say=lambda line: None)
    json.dumps([item.to_json() for item in made.left_out], ensure_ascii=False).encode()  # as the report is written
    return [path for shard in made.shards for entry in plan.entries_of(request.work, shard) for path in entry.files]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def changed(value: Any, place: tuple, to: Any) -> Any:
    if not place:
        return to
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    if isinstance(inner, dict) and isinstance(to, str):
        inner[to] = inner[place[-1]]
    return value


@pytest.mark.parametrize("name", INDEXES)
def test_whatever_an_index_says_nothing_crashes_and_no_file_outside_is_read(name, tmp_path):
    root, rng = tmp_path / "a/tree", random.Random(name)
    trees.draw(name, root)
    file = root / INDEXES[name]
    true = json.loads(file.read_text())
    where = list(places(true))
    for _ in range(25):
        file.write_text(json.dumps(changed(true, rng.choice(where), rng.choice(VALUES))))
        try:
            read = planned(name, root)
        except InputError:  # nothing is left
            continue
        assert all((root / path).is_file() and ".." not in path for path in read)


@pytest.mark.parametrize(
    "path", ["../../outside.png", "{absolute}", "candle/../../outside.png", "a\0b", "\n", "x" * 60_000]
)
def test_a_table_names_no_file_outside(path, tmp_path):
    root = tmp_path / "tree"
    trees.draw("visa", root)
    trees.image(tmp_path / "outside.png")
    table = root / "split_csv/1cls.csv"
    path = path.format(absolute=tmp_path / "outside.png")
    whole = planned("visa", root)
    table.write_text(table.read_text() + f'candle,test,normal,"{path}",\n')
    assert planned("visa", root) == whole


@pytest.mark.parametrize("text", ["y" * 200_000, '"', "image,label,mask\n" + "y" * 200_000])
def test_a_table_that_is_none_is_one_line(text, tmp_path):
    root = tmp_path / "tree"
    trees.draw("visa", root)
    (root / "candle/image_anno.csv").write_text(text)
    with pytest.raises(InputError, match=r"image_anno\.csv"):
        planned("visa", root)


def test_lines_may_end_as_on_old_machines(tmp_path):
    root = tmp_path / "tree"
    trees.draw("visa", root)
    whole, table = planned("visa", root), root / "split_csv/1cls.csv"
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r"))
    assert planned("visa", root) == whole


@pytest.fixture
def request_(tmp_path):
    trees.draw("folder", tmp_path / "parts")
    return Request("folder", tmp_path / "parts", tmp_path / "out")


class FullDisk:
    """An ArrayRecord writer that finds the disk full where `fails` says, after it has written something."""

    def __init__(self, path: str, options: str, fails: str):
        Path(path).write_bytes(b"half")
        self.fails = fails

    def write(self, data: bytes) -> None:
        if self.fails == "write":
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 4")

    def close(self) -> None:
        raise RuntimeError("write() failed: No space left on device; writing x; at byte 4")


@pytest.mark.parametrize("fails", ["write", "close"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(fails, request_, monkeypatch):
    from array_record.python import array_record_module

    with monkeypatch.context() as patch:
        patch.setattr(array_record_module, "ArrayRecordWriter", lambda path, options: FullDisk(path, options, fails))
        with pytest.raises(InputError, match="No space left on device; make room"):
            prepare.prepare(request_, say=lambda line: None)
    assert list((request_.work / shards.DATA).glob(".*")), "half a shard"
    prepare.prepare(request_, say=lambda line: None)
    assert not [path for path in request_.out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("module", "name"), [(prepare.plans, "remember"), (index.np, "save"), (os, "fsync")])
def test_wherever_the_disk_is_full(module, name, request_, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        with pytest.raises(InputError, match="cannot write .*out: No space left"):
            prepare.prepare(request_, say=lambda line: None)
    prepare.prepare(request_, say=lambda line: None)


@pytest.mark.parametrize("out", ["/", ".", "x" * 300])
def test_an_output_that_cannot_be_is_one_line(out, request_):
    with pytest.raises(InputError, match="exists already|cannot write"):
        prepare.prepare(Request("folder", request_.source, Path(out)), Runner(), say=lambda line: None)


def test_a_writer_that_is_killed_is_one_line(monkeypatch):
    def killed(*_):
        raise BrokenProcessPool("a process died")

    monkeypatch.setattr(runners, "ProcessPoolExecutor", lambda processes, **_: ThreadPoolExecutor(processes))
    monkeypatch.setattr(runners, "write_shard", lambda job, shard: shard.name)
    monkeypatch.setattr(runners, "as_completed", killed)
    job = shards.Job("folder", "", "", 0)
    with pytest.raises(InputError, match="--processes=2"):
        list(runners.write_locally(job, [plan.Shard("train", number, 2) for number in range(2)], 2))
