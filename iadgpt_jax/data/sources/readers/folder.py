"""Any folder of photographs: the layout of MVTec AD, or a folder of good parts beside folders of others.

    <category>/{train,test}/good, <category>/test/<defect>, <category>/ground_truth/<defect>    as MVTec AD has it
    <category>/good and <category>/<defect>                                                     good and bad parts
    <category>/good and <category>/inspect                                                      good and unknown parts

The folder may also be one category itself. good, Good, ok and OK all mean good; inspect, query, test, unknown and
unlabelled hold parts to inspect, of which nobody says whether they are good; every other name says what is wrong.
Masks lie in ground_truth/<defect> in each case. What was taken for what is noted on the tree.
"""

from __future__ import annotations

from collections.abc import Iterator

from iadgpt_jax.data.sources.entry import TEST, TRAIN, Entry
from iadgpt_jax.data.sources.readers.mvtec_layout import (
    GOOD,
    GROUND_TRUTH,
    LAYOUT,
    SPLITS,
    find_masks,
    good_first,
    has_split,
    leave_out_unused,
    read_category,
)
from iadgpt_jax.data.sources.tree import Tree, join, stem
from iadgpt_jax.errors import InputError

TO_INSPECT = ("inspect", "query", "test", "unknown", "unlabelled")


def read(tree: Tree) -> Iterator[Entry]:
    """Every image. Raises InputError for a missing folder, and for one without images in any of these layouts."""
    if not tree.root.is_dir():
        raise InputError(f"no such folder: {tree.root}; expected {LAYOUT}")
    categories = {name: name for name in tree.folders() if is_category(tree, name)}
    if is_category(tree, ""):
        categories = {tree.name: ""}
    if not categories:
        raise InputError(
            f"no images in MVTec layout in {tree.root}; expected {LAYOUT}, or good/*.png and inspect/*.png"
        )
    for category, folder in categories.items():
        if _has_good(tree, folder):
            yield from _read_side_by_side(tree, category, folder)
        else:
            _note_splits(tree, category, folder)
            yield from read_category(tree, category, folder, GOOD)


def is_category(tree: Tree, folder: str) -> bool:
    """Whether a folder holds one category's images."""
    return _has_good(tree, folder) or has_split(tree, folder)


def _has_good(tree: Tree, folder: str) -> bool:
    return any(tree.images(join(folder, name)) for name in tree.folders(folder) if name in GOOD)


def _read_side_by_side(tree: Tree, category: str, folder: str) -> Iterator[Entry]:
    """Good parts are for training and reference, all others for testing."""
    used: set[str] = set()
    for kind in good_first([name for name in tree.folders(folder) if name != GROUND_TRUTH], GOOD):
        images = tree.images(join(folder, kind))
        if not images:
            continue
        defect = None if kind in GOOD else "" if kind in TO_INSPECT else kind
        _note(tree, category, kind, len(images), defect)
        masks = find_masks(tree, join(folder, GROUND_TRUTH, kind)) if defect else {}
        for image in images:
            own = masks.get(stem(image), ())
            used.update(own)
            inside = join(kind, image)
            split = TRAIN if defect is None else TEST
            yield Entry(join(category, inside), join(folder, inside), category, split, defect, tuple(own))
    leave_out_unused(tree, join(folder, GROUND_TRUTH), used)


def _note_splits(tree: Tree, category: str, folder: str) -> None:
    for name in SPLITS:
        for kind in good_first(tree.folders(join(folder, name)), GOOD):
            images = tree.images(join(folder, name, kind))
            _note(tree, category, join(name, kind), len(images), None if kind in GOOD else kind)


def _note(tree: Tree, category: str, folder: str, count: int, defect: str | None) -> None:
    taken = "good" if defect is None else f"defective: {defect.replace('_', ' ')}" if defect else "to inspect"
    tree.note(f"{category}/{folder}: {taken}, {count} images")
