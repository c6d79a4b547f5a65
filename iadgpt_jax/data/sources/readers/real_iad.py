"""Real-IAD: 30 products, each part photographed by five cameras. Images and one index of every category:

    realiad_{raw,1024,512,256}/<category>/{OK,NG/<code>}/SNNNN/<category>_NNNN_…_C1_….jpg       C1 … C5: the camera
    realiad_jsons/<category>.json    {"meta": {"prefix", "normal_class"}, "train": [items], "test": [items]}

An item is {"category", "anomaly_class", "image_path", "mask_path"}, paths relative to the category's folder. The
largest size at hand is read; the camera is the record's viewpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from iadgpt_jax.data.sources.entry import TEST, TRAIN, Entry
from iadgpt_jax.data.sources.json_files import read_json
from iadgpt_jax.data.sources.tree import Tree, join
from iadgpt_jax.errors import InputError

SIZES = ("raw", "1024", "512", "256")  # the best first
INDEXES = ("realiad_jsons/realiad_jsons", "realiad_jsons", "")
KINDS = {
    "AK": "pit", "BX": "deformation", "CH": "abrasion", "HS": "scratch",
    "PS": "damage", "QS": "missing part", "YW": "foreign object", "ZW": "contamination",
}  # fmt: skip
_CAMERA = re.compile(r"_(C\d+)(?:_|\.)")


def read(tree: Tree) -> Iterator[Entry]:
    """Every item of every index. Raises InputError where no images or no index are found."""
    sizes = [size for size in SIZES if f"realiad_{size}" in tree.folders()]
    if not sizes:
        raise InputError(f"no folder realiad_raw, realiad_1024, realiad_512 or realiad_256 in {tree.root}; unpack one")
    images = f"realiad_{sizes[0]}"
    tree.note(f"images: {images}")
    for size in sizes[1:]:
        tree.ignore(rf"realiad_{size}/.*", f"realiad_{size}/*", f"the same images in a smaller size than {images}")
    folder, names = _indexes(tree)
    tree.note(f"indexes: {folder or '.'}")
    tree.ignore(r"realiad_jsons.*\.json", "realiad_jsons*/*.json", "indexes of other protocols")
    for name in names:
        yield from _read_index(tree, join(folder, name), images)


def _indexes(tree: Tree) -> tuple[str, list[str]]:
    for folder in INDEXES:
        if names := [name for name in tree.files(folder) if name.endswith(".json")]:
            return folder, names
    raise InputError(
        f"no index realiad_jsons/<category>.json in {tree.root}; unpack realiad_jsons.zip beside the images"
    )


def _read_index(tree: Tree, path: str, images: str) -> Iterator[Entry]:
    index = read_json(tree, path)
    if not isinstance(index, dict) or not any(isinstance(index.get(split), list) for split in (TRAIN, TEST)):
        tree.leave_out(path, "not an index with train and test")
        return
    meta = index.get("meta") if isinstance(index.get("meta"), dict) else {}
    normal = meta.get("normal_class", "OK")
    for split in (TRAIN, TEST):
        items = index.get(split)
        for number, item in enumerate(items if isinstance(items, list) else []):
            if not _is_item(item):
                tree.leave_out(
                    f"{path}, {split}[{number}]", "not an item with category, anomaly_class and paths as texts"
                )
                continue
            base = join(images, item["category"])
            code, image = item["anomaly_class"], join(base, item["image_path"])
            good = code == normal
            mask = item.get("mask_path")
            camera = _CAMERA.search(item["image_path"].rsplit("/", 1)[-1])
            yield Entry(
                key=join(item["category"], item["image_path"]),
                image=image,
                category=item["category"],
                split=split,
                defect=None if good else KINDS.get(code, code),
                masks=() if good or not mask else (join(base, mask),),
                viewpoint=camera[1] if camera else "",
            )


def _is_item(item: Any) -> bool:
    names = ("category", "anomaly_class", "image_path")
    if not isinstance(item, dict) or not isinstance(item.get("mask_path") or "", str):
        return False
    return all(isinstance(item.get(name), str) and item[name] for name in names)
