"""Whatever happens to files of a tree, it is prepared without a crash, and no file is dropped without a word."""

import os
import random
from pathlib import Path

import pytest

from iadgpt_jax.data.sources import plan
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from tests.data.sources import trees

INDEXES = (".json", ".csv", ".yaml")


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size + 1)])


def scramble(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(min(8, len(data))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data))


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def make_a_folder_of(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice([path.parent, "nowhere", path.name]))


def give_a_name_that_is_not_unicode(path: Path, rng: random.Random) -> None:
    os.rename(path, os.fsencode(path.parent) + b"/\xff\xfe" + os.fsencode(path.name))


DAMAGE = [truncate, scramble, delete, make_a_folder_of, link, give_a_name_that_is_not_unicode]


@pytest.mark.parametrize("name", trees.TREES)
def test_nothing_crashes_and_nothing_is_silent(name, tmp_path, monkeypatch):
    monkeypatch.setattr("iadgpt_jax.data.sources.prepare.draw_sheet", lambda directory: b"")
    used: set[str] = set()
    add = plan._SplitWriter.add

    def noted(self, entry, stamps):
        used.update(entry.files)
        add(self, entry, stamps)

    monkeypatch.setattr(plan._SplitWriter, "add", noted)
    root, rng = tmp_path / "tree", random.Random(name)
    trees.draw(name, root)
    for damage in rng.sample(DAMAGE, 3):
        files = sorted(path for path in root.rglob("*") if path.is_file())
        damage(rng.choice(files), rng)
    files = {os.path.relpath(path, root) for path in root.rglob("*") if path.is_symlink() or path.is_file()}
    try:
        report = prepare(Request(name, root, tmp_path / "out"), say=lambda line: None).values
    except InputError as error:  # an index is gone: there is nothing to prepare
        assert str(root) in str(error)
        return
    source = PreparedSource(tmp_path / "out")
    assert len([source[index] for index in range(len(source))]) == report["records"]
    named = {item["path"] for item in report["left_out"]}
    grouped = sum(item.get("count", 1) for item in report["left_out"] if "*" in item["path"])
    silent = [path for path in files - used if printable(path) not in named and not path.endswith(INDEXES)]
    assert len(silent) <= grouped, silent


def printable(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
