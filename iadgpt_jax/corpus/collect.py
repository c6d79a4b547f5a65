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
    missing = {name: images for name, images in chosen.items() if not _target(workdir, name).is_dir()}

    def one_by_one() -> Iterator[str]:
        for name, images in missing.items():
            with _Aside(workdir, name) as folder:
                for path, file in images:
                    shutil.copyfile(source / path, folder.path / file)
                folder.keep({"file": file, "url": path} for path, file in images)
            yield name

    for _ in watch(one_by_one(), len(missing)):
        pass
    return passed_over


def collected(workdir: Path) -> tuple[int, int]:
    """(categories, images) that are there."""
    folders = [path for path in (workdir / files.COLLECTED).glob("*") if not path.name.startswith(".")]
    return len(folders), sum(len(files.read_lines(path / files.SOURCES_FILE, "collect")) for path in folders)


def _images_of(source: Path) -> tuple[dict[str, list[tuple[str, str]]], int]:
    """Category folder's name to the images to copy, (path below the source, new file name); and how many others there
    are. bolt/train/good/000.png is train_good_000.png in the folder bolt."""
    tree = Tree(source)
    if not tree.root.is_dir():
        raise InputError(f"no such folder: {source}; --folder names one that holds <category>/*.jpg")
    chosen: dict[str, list[tuple[str, str]]] = {}
    passed_over = 0
    if folder_layouts.is_category(tree, "") or any(folder_layouts.is_category(tree, one) for one in tree.folders()):
        for entry in folder_layouts.read(tree):
            if entry.defect is None:
                inside = entry.key.removeprefix(f"{entry.category}/").replace("/", "_")
                chosen.setdefault(folder_of(entry.category), []).append((entry.image, inside))
            else:
                passed_over += 1
    else:
        for category in tree.folders():
            for image in tree.images(category):
                chosen.setdefault(folder_of(category), []).append((join(category, image), image))
    if not chosen:
        raise InputError(f"no images in {source}; --folder names one that holds <category>/*.jpg or <category>/good")
    for category, images in chosen.items():
        first: dict[str, str] = {}
        for path, file in images:
            if first.setdefault(file, path) != path:
                raise InputError(f"{first[file]} and {path} would both be {category}/{file}; rename one in {source}")
    return chosen, passed_over


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
