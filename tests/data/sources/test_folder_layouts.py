"""A folder needs no particular layout: good parts beside others will do, and it is said what was taken for what."""

import pytest

from iadgpt_jax.data.sources import notes_of
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from tests.data.sources import trees


@pytest.mark.parametrize("good", ["good", "Good", "ok", "OK"])
def test_every_word_for_good_is_understood(good, tmp_path):
    trees.mvtec(tmp_path / "parts", good=good)
    verdicts = {(record.split, record.defective) for record in FolderSource(tmp_path / "parts").records}
    assert verdicts == {("train", False), ("test", False), ("test", True)}


@pytest.mark.parametrize("base", ["", "bolt/"])
def test_good_parts_beside_others(base, tmp_path, capsys):
    root = tmp_path / "parts"
    for number in range(3):
        trees.image(root / f"{base}OK/{number}.jpg")
        trees.image(root / f"{base}inspect/{number}.jpg")
        trees.image(root / f"{base}deep_scratch/{number}.jpg")
    trees.mask(root / f"{base}ground_truth/deep_scratch/1.png")
    said = []
    prepare(Request("folder", root, tmp_path / "out"), say=said.append)
    category = base.strip("/") or "parts"
    assert f"  {category}/OK: good, 3 images" in said
    assert f"  {category}/inspect: to inspect, 3 images" in said
    assert f"  {category}/deep_scratch: defective: deep scratch, 3 images" in said
    assert list(notes_of(FolderSource(root))) == [f"parts: {line.strip()}" for line in said if ", 3 images" in line]
    for source in (FolderSource(root), PreparedSource(tmp_path / "out")):
        found = [(r.category, r.split, r.defective, r.kind, r.masked) for r in source.records]
        assert sorted(found, key=str) == sorted(
            [(category, "train", False, "", True)] * 3
            + [(category, "test", None, "", False)] * 3
            + [(category, "test", True, "deep scratch", masked) for masked in (False, True, False)],
            key=str,
        )
        unknown = source[[record.defective for record in source.records].index(None)]
        assert unknown.defective is None and unknown.mask is None and unknown.defect is None


def test_a_folder_of_nothing_known_says_what_it_needs(tmp_path):
    trees.image(tmp_path / "parts/somewhere/0.png")
    with pytest.raises(InputError, match="expected .*train/good.*or good/.* and inspect/"):
        FolderSource(tmp_path / "parts")


def test_a_validation_split_is_kept(tmp_path):
    trees.mvtec(tmp_path / "parts")
    (tmp_path / "parts/bolt/train").rename(tmp_path / "parts/bolt/train_")
    trees.image(tmp_path / "parts/bolt/train/good/0.png")
    trees.image(tmp_path / "parts/bolt/val/good/0.png")
    splits = [record.split for record in FolderSource(tmp_path / "parts", categories=["bolt"]).records]
    assert splits == ["train", "validation", "test", "test", "test"]
