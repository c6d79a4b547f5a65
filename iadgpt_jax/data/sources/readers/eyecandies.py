"""Eyecandies: ten rendered sweets, <Sweet>/{train,val,test_public,test_private}/data/NNN_<item>.<suffix>.

Of the six lights of a part, image_5 (light from everywhere) is read, as the publication's own tools do.
NNN_metadata.yaml says whether a part of test_public is anomalous, NNN_mask.png where (the union of masks by kind,
which are not read). Labels of test_private were never published, so it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from iadgpt_jax.data.images import read_bytes
from iadgpt_jax.data.sources.entry import TEST, TRAIN, VALIDATION, Entry
from iadgpt_jax.data.sources.tree import Tree, join
from iadgpt_jax.errors import InputError

SPLITS = {"train": TRAIN, "val": VALIDATION, "test_public": TEST}
IMAGE, MASK, METADATA = "_image_5.png", "_mask.png", "_metadata.yaml"
_ANOMALOUS = re.compile(rb"^\s*anomalous\s*:\s*(\w+)", re.MULTILINE)
_YES, _NO = (b"1", b"true", b"True"), (b"0", b"false", b"False")


def read(tree: Tree) -> Iterator[Entry]:
    """One entry a part. Raises InputError where there is no <Sweet>/train/data."""
    sweets = [name for name in tree.folders() if set(SPLITS) & set(tree.folders(name))]
    if not sweets:
        raise InputError(f"no <Sweet>/train/data in {tree.root}; unpack CandyCane.zip and the others there")
    tree.ignore(r".*/test_private/.*", "*/test_private/*", "no labels of test_private were published")
    tree.ignore(
        r".*/data/\d+_image_[0-4]\.png", "*/data/*_image_[0-4].png", "the same parts in other light than image_5"
    )
    tree.ignore(
        r".*/data/\d+_(depth|normals|info_depth|pose|obj_params|metadata|\w+_mask)\.\w+|.*\.ya?ml",
        "*/data/*_{depth,normals,pose,…}",
        "not a photograph: depth, normals, poses, parameters, masks by kind",
    )
    tree.ignore(r".*/data/\d+_mask\.png", "*/data/*_mask.png", "the empty mask of a good part")
    for category in sweets:
        for name, split in SPLITS.items():
            yield from _read_split(tree, category, join(category, name, "data"), split)


def _read_split(tree: Tree, category: str, folder: str, split: str) -> Iterator[Entry]:
    names = tree.files(folder)
    present = set(names)
    for name in names:
        if not name.endswith(IMAGE):
            continue
        number, path = name.removesuffix(IMAGE), join(folder, name)
        anomalous = _is_anomalous(tree, join(folder, number + METADATA)) if number + METADATA in present else None
        if anomalous is None and split == TEST:
            tree.leave_out(path, f"{number + METADATA} does not say whether it is anomalous")
            continue
        masks = (join(folder, number + MASK),) if anomalous and number + MASK in present else ()
        yield Entry(path, path, category, split, "defect" if anomalous else None, masks)


def _is_anomalous(tree: Tree, path: str) -> bool | None:
    tree.take(path)
    found = _ANOMALOUS.search(read_bytes(tree.path(path)))
    return None if not found or found[1] not in (*_YES, *_NO) else found[1] in _YES
