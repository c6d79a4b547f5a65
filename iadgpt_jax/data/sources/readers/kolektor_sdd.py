"""KolektorSDD: 50 commutators kosNN, eight surfaces PartN.jpg each, every one with PartN_label.bmp.

Whether a surface is defective is what its mask says: an all-black one means good. The publication divides it into
folds, not into train and test: all images are in the split train.
"""

from __future__ import annotations

from collections.abc import Iterator

from iadgpt_jax.data.sources.entry import TRAIN, Entry
from iadgpt_jax.data.sources.tree import Tree, join, stem
from iadgpt_jax.errors import InputError

CATEGORY, ENDING = "commutator", "_label"


def read(tree: Tree) -> Iterator[Entry]:
    """Every surface. Raises InputError where there is no kosNN/PartN.jpg."""
    found = False
    for part in tree.folders():
        images = tree.images(part)
        masks = {stem(name).removesuffix(ENDING): join(part, name) for name in images if stem(name).endswith(ENDING)}
        for name in images:
            if stem(name).endswith(ENDING):
                continue
            found, path = True, join(part, name)
            mask = masks.pop(stem(name), None)
            if mask is None:
                tree.leave_out(path, f"no mask {stem(name)}{ENDING}.bmp, and nothing else tells whether it is good")
                continue
            yield Entry(path, path, CATEGORY, TRAIN, "defect", (mask,), mask_decides=True)
        for mask in masks.values():
            tree.leave_out(mask, "mask without an image")
    if not found:
        raise InputError(f"no kos01/Part0.jpg … in {tree.root}; name the folder that holds kos01 to kos50")
