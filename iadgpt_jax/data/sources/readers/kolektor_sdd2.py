"""KolektorSDD2: {train,test}/NNNNN.png, each with NNNNN_GT.png; an all-black mask means a good surface."""

from __future__ import annotations

from collections.abc import Iterator

from iadgpt_jax.data.sources.entry import TEST, TRAIN, Entry
from iadgpt_jax.data.sources.tree import Tree, join, stem
from iadgpt_jax.errors import InputError

CATEGORY, ENDING = "surface", "_GT"


def read(tree: Tree) -> Iterator[Entry]:
    """Every surface. Raises InputError where there is neither train nor test."""
    if not {TRAIN, TEST} & set(tree.folders()):
        raise InputError(f"no folder train or test in {tree.root}; name the folder that KolektorSDD2 was unpacked to")
    for split in (TRAIN, TEST):
        images = tree.images(split)
        masks = {stem(name).removesuffix(ENDING): join(split, name) for name in images if stem(name).endswith(ENDING)}
        for name in images:
            if stem(name).endswith(ENDING):
                continue
            path, mask = join(split, name), masks.pop(stem(name), None)
            if mask is None:
                tree.leave_out(path, f"no mask {stem(name)}{ENDING}.png, and nothing else tells whether it is good")
                continue
            yield Entry(path, path, CATEGORY, split, "defect", (mask,), mask_decides=True)
        for mask in masks.values():
            tree.leave_out(mask, "mask without an image")
