"""The layout of MVTec AD, which many datasets share:

<category>/train/good/NNN.png
<category>/test/good/NNN.png
<category>/test/<defect>/NNN.png
<category>/ground_truth/<defect>/NNN_mask.png      or NNN.png, or several in ground_truth/<defect>/NNN/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from iadgpt_jax.data.sources.entry import TEST, TRAIN, VALIDATION, Entry
from iadgpt_jax.data.sources.tree import Tree, join, stem
from iadgpt_jax.errors import InputError

LAYOUT = "<category>/train/good/*.png, <category>/test/<defect>/*.png, <category>/ground_truth/<defect>/*_mask.png"
GOOD = ("good", "Good", "ok", "OK")
SPLITS = {"train": TRAIN, "validation": VALIDATION, "val": VALIDATION, "test": TEST}
GROUND_TRUTH = "ground_truth"
MASK_ENDINGS = ("_mask", "_gt", "_GT")


def read_mvtec(tree: Tree, good: Sequence[str] = ("good",)) -> Iterator[Entry]:
    """The entries of a folder in this layout; the folder may also be one category. good: names of folders of good
    parts.

    Raises InputError where there is no category at all.
    """
    categories = {name: name for name in tree.folders() if has_split(tree, name)}
    if not categories and has_split(tree, ""):
        categories = {tree.name: ""}
    if not categories:
        raise InputError(f"no images in MVTec layout in {tree.root}; expected {LAYOUT}")
    for category, folder in categories.items():
        yield from read_category(tree, category, folder, good)


def has_split(tree: Tree, folder: str) -> bool:
    """Whether a folder is divided into train, test …"""
    return any(name in SPLITS for name in tree.folders(folder))


def read_category(tree: Tree, category: str, folder: str, good: Sequence[str]) -> Iterator[Entry]:
    """The entries of one category, by split, good ones first; masks without an image are left out."""
    used: set[str] = set()
    for name, split in SPLITS.items():
        for kind in good_first(tree.folders(join(folder, name)), good):
            defect = None if kind in good else kind
            masks = {} if defect is None else find_masks(tree, join(folder, GROUND_TRUTH, kind))
            for image in tree.images(join(folder, name, kind)):
                inside = join(name, kind, image)
                own = masks.get(stem(image), ())
                used.update(own)
                yield Entry(join(category, inside), join(folder, inside), category, split, defect, tuple(own))
    leave_out_unused(tree, join(folder, GROUND_TRUTH), used)


def good_first(kinds: Sequence[str], good: Sequence[str]) -> list[str]:
    """Names of folders, those of good parts first, else by name."""
    return sorted(kinds, key=lambda kind: (kind not in good, kind))


def find_masks(tree: Tree, folder: str) -> dict[str, tuple[str, ...]]:
    """Stem of an image to the paths of its masks: files called NNN_mask or NNN, or all of the folder NNN."""
    found = {mask_stem(name): (join(folder, name),) for name in tree.images(folder)}
    for inner in tree.folders(folder):
        several = tuple(join(folder, inner, name) for name in tree.images(join(folder, inner)))
        if several:
            found[inner] = several
    return found


def mask_stem(name: str) -> str:
    """The stem of the image that a mask's file name refers to."""
    found = stem(name)
    for ending in MASK_ENDINGS:
        found = found.removesuffix(ending)
    return found


def leave_out_unused(tree: Tree, ground_truth: str, used: set[str]) -> None:
    """Masks that no image asked for are left out."""
    for kind in tree.folders(ground_truth):
        for masks in find_masks(tree, join(ground_truth, kind)).values():
            for mask in masks:
                if mask not in used:
                    tree.leave_out(mask, "mask without an image")
