"""Collect: images of many products, a folder each, found by image search or copied from a folder.

    collected/<category>/NAME.jpg
    collected/<category>/sources.jsonl      {"file", "url"}: where each came from

A category's folder is made aside and renamed when it is whole. Started again, a stopped collection goes on with the
categories that are missing; one that is there is not searched for again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from iadgpt_jax.corpus import workdir as files
from iadgpt_jax.corpus.categories import folder_of
from iadgpt_jax.data.sources.readers import folder as folder_layouts
from iadgpt_jax.data.sources.tree import Tree, join
from iadgpt_jax.errors import InputError

EMPTY_IN_A_ROW = 5  # searches that find nothing, after which the engine or the network is taken to be at fault

Search = Callable[[str, Path, int], list[tuple[str, str]]]


def collect_from_web(
    workdir: Path, categories: Sequence[str], most: int, search: Search,
    watch: Callable[[Iterator[str], int], Iterable[str]] = lambda done, total: done,
) -> list[str]:  # fmt: skip
    """Search for every category that is not there yet.

    Args:
      most: images of one category. search: (category, folder, most) to (file name, address) of what it has put there.
      watch: hands on the categories as they are done, of so many.

    Returns the categories of which nothing was found; they are searched for again next time. Raises InputError where
    several in a row find nothing.
    """
    missing = [category for category in categories if not _target(workdir, folder_of(category)).is_dir()]
    empty: list[str] = []

    def one_by_one() -> Iterator[str]:
        in_a_row = 0
        for category in missing:
            with _Aside(workdir, folder_of(category)) as folder:
                found = search(category, folder.path, most)
                in_a_row = 0 if found else in_a_row + 1
                if found:
                    folder.keep({"file": name, "url": url} for name, url in found)
                else:
                    empty.append(category)
            if in_a_row == EMPTY_IN_A_ROW:
                raise InputError(
                    f"{in_a_row} searches in a row found nothing, the last for {category!r}: the network or the search "
                    "engine is at fault; run this again later, or with another --engine"
                )
            yield category

    for _ in watch(one_by_one(), len(missing)):
        pass
    return empty


def collect_from_folder(
    workdir: Path, source: Path,
    watch: Callable[[Iterator[str], int], Iterable[str]] = lambda done, total: done,
) -> int:  # fmt: skip
    """Copy the good parts of a folder in any layout that data/sources/readers/folder.py reads, or all images of a
    folder that has nothing but <category>/*.jpg.

    Returns how many images were passed over because they show a defect, or may: what a caption says of a product is
    not true of them. Raises InputError where there are no images.
    """
    chosen, passed_over = _images_of(source)
    missing = {name: paths for name, paths in chosen.items() if not _target(workdir, name).is_dir()}

    def one_by_one() -> Iterator[str]:
        for name, paths in missing.items():
            with _Aside(workdir, name) as folder:
                for path in paths:
                    shutil.copyfile(source / path, folder.path / _flat(path, name))
                folder.keep({"file": _flat(path, name), "url": path} for path in paths)
            yield name

    for _ in watch(one_by_one(), len(missing)):
        pass
    return passed_over


def collected(workdir: Path) -> tuple[int, int]:
    """(categories, images) that are there."""
    folders = [path for path in (workdir / files.COLLECTED).glob("*") if not path.name.startswith(".")]
    return len(folders), sum(len(files.read_lines(path / files.SOURCES_FILE, "collect")) for path in folders)


def _images_of(source: Path) -> tuple[dict[str, list[str]], int]:
    """Category folder's name to the images to copy, relative to the source; and how many others there are."""
    tree = Tree(source)
    if not tree.root.is_dir():
        raise InputError(f"no such folder: {source}; --folder names one that holds <category>/*.jpg")
    chosen: dict[str, list[str]] = {}
    passed_over = 0
    if folder_layouts.is_category(tree, "") or any(folder_layouts.is_category(tree, one) for one in tree.folders()):
        for entry in folder_layouts.read(tree):
            if entry.defect is None:
                chosen.setdefault(folder_of(entry.category), []).append(entry.image)
            else:
                passed_over += 1
    else:
        for category in tree.folders():
            if images := tree.images(category):
                chosen[folder_of(category)] = [join(category, image) for image in images]
    if not chosen:
        raise InputError(f"no images in {source}; --folder names one that holds <category>/*.jpg or <category>/good")
    return chosen, passed_over


def _flat(path: str, category: str) -> str:
    """A file name without folders: bolt/train/good/000.png is train_good_000.png in the folder bolt."""
    return path.removeprefix(f"{category}/").replace("/", "_")


def _target(workdir: Path, name: str) -> Path:
    return workdir / files.COLLECTED / name


class _Aside:
    """A category's folder while it is filled; what was not kept is removed."""

    def __init__(self, workdir: Path, name: str):
        self._target = _target(workdir, name)
        self.path = self._target.with_name(f".{name}.unfinished")

    def __enter__(self) -> _Aside:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        return self

    def keep(self, sources: Iterable[dict[str, str]]) -> None:
        files.write_lines(self.path / files.SOURCES_FILE, sources)
        self.path.rename(self._target)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
