"""DAGM 2007: ten rendered textures, ClassN/{Train,Test}/NNNN.PNG, with an ellipse around each defect in
Label/NNNN_label.PNG.

An image without a label file is a good one. What the textures' defects are called was never published.
"""

from __future__ import annotations

from collections.abc import Iterator

from iadgpt_jax.data.sources.entry import TEST, TRAIN, Entry
from iadgpt_jax.data.sources.tree import Tree, is_image, join, stem
from iadgpt_jax.errors import InputError

SPLITS = {"Train": TRAIN, "Test": TEST}
LABEL = "Label"


def read(tree: Tree) -> Iterator[Entry]:
    """Every image. Raises InputError where there is no ClassN/Train or ClassN/Test."""
    classes = [name for name in tree.folders() if set(SPLITS) & set(tree.folders(name))]
    if not classes:
        raise InputError(f"no Class1/Train, Class1/Test … in {tree.root}; name the folder that holds Class1 to Class10")
    for category in sorted(classes, key=lambda name: (len(name), name)):  # Class2 before Class10
        for name, split in SPLITS.items():
            folder = join(category, name)
            labels = {
                stem(label).removesuffix("_label"): join(folder, LABEL, label)
                for label in tree.files(join(folder, LABEL))
                if is_image(label)
            }
            for image in tree.images(folder):
                mask = labels.pop(stem(image), None)
                path = join(folder, image)
                yield Entry(path, path, category, split, "defect" if mask else None, (mask,) if mask else ())
            for mask in labels.values():
                tree.leave_out(mask, "mask without an image")
