"""Files, folders and patterns name photographs once each, in order, and what holds none is told."""

from pathlib import Path

import pytest
from PIL import Image

from iadgpt_jax.data.named_photographs import LONGEST, check_singly_named, file_stems, named_photographs
from iadgpt_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "deep/er/c.webp", ".hidden/d.png", ".e.png", "notes.txt", "odd[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(found, folder):
    return [one.path.relative_to(folder).as_posix() for one in found]


def test_a_folder_is_its_photographs_and_those_of_its_folders(folder):
    assert names(named_photographs([str(folder)], "--query"), folder) == [
        "a.JPG",
        "b.png",
        "deep/er/c.webp",
        "odd[1].png",
    ]


def test_a_pattern_is_what_it_matches_and_a_file_comes_once(folder):
    words = [f"{folder}/*.png", f"{folder}/**/*.webp", f"{folder}/b.png"]
    assert names(named_photographs(words, "--query"), folder) == ["b.png", "odd[1].png", "deep/er/c.webp"]
    (one,) = named_photographs([f"{folder}/odd[1].png"], "--query")  # a file of this name, not a pattern
    assert one.singly


@pytest.mark.parametrize("word", ["{folder}/*.tif", "{folder}/empty"])
def test_what_holds_none_is_told(folder, word):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="--reference=.*no photograph there"):
        named_photographs([word.format(folder=folder)], "--reference")


def test_only_what_was_named_itself_must_be_readable(folder):
    Image.new("RGB", (4, 4)).save(folder / "good.png")
    check_singly_named(named_photographs([str(folder / "*.png"), str(folder / "good.png")], "--query"))
    with pytest.raises(InputError, match=r"b\.png"):
        check_singly_named(named_photographs([str(folder / "b.png")], "--query"))


def test_stems_differ_by_folder_then_by_number():
    paths = [Path("x/1.png"), Path("y/1.png"), Path("y/1.jpg"), Path("2.png"), Path("x/2.png")]
    assert file_stems(paths) == ["1", "y_1", "y_1_2", "2", "x_2"]


def test_long_names_leave_room_for_what_is_added():
    long = ["x" * 251, "é" * 120, "x" * 250 + "y"]
    stems = file_stems([Path("a", f"{name}.png") for name in long])
    assert len(set(stems)) == 3 and all(len(stem.encode()) <= LONGEST + 2 for stem in stems)
    assert stems[1] == "é" * (LONGEST // 2)


@pytest.mark.parametrize("word", ["y" * 300, "y" * 300 + "*"])
def test_a_name_that_no_file_can_have_is_told(word):
    with pytest.raises(InputError, match="--query=y.*too long"):
        named_photographs([word], "--query")
