"""Photographs in a folder of MVTec-AD layout, read in place:

    <root>/<category>/train/good/NNN.png
    <root>/<category>/test/good/NNN.png
    <root>/<category>/test/<defect>/NNN.png
    <root>/<category>/ground_truth/<defect>/NNN_mask.png

The root may also be one category itself. A defective photograph without a mask is fine: nobody drew where.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iadgpt_jax.data.images import IMAGE_SUFFIXES, read_image, read_mask, resize_mask, resize_square
from iadgpt_jax.data.sources.cache import DEFAULT_BYTES, SampleCache
from iadgpt_jax.data.sources.sample import Defect, Record, Sample
from iadgpt_jax.errors import InputError

LAYOUT = "<category>/train/good/*.png, <category>/test/<defect>/*.png, <category>/ground_truth/<defect>/*_mask.png"
GOOD = "good"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Photograph:
    """One file of a dataset, before it is read. `defect` is None on good parts."""

    category: str
    split: str  # "train" or "test"
    defect: str | None
    key: str  # <category>/<path inside it>
    image: Path
    mask: Path | None

    @property
    def record(self) -> Record:
        return Record(self.category, self.split, self.defect is not None)


class FolderSource:
    """A `Source` over a folder in MVTec layout; images and masks are squashed to side x side where a side is given.

    `categories` and `split` restrict it. Raises InputError where the folder or a chosen category is not as expected.
    """

    def __init__(
        self,
        root: str | Path,
        side: int | None = None,
        categories: Sequence[str] | None = None,
        split: str | None = None,
        cache_bytes: int = DEFAULT_BYTES,
    ):
        self.name = Path(root).resolve().name
        self.side = side
        self.photographs = [p for p in scan_folder(root, categories) if split in (None, p.split)]
        self.records = [photograph.record for photograph in self.photographs]
        self._cache = SampleCache(cache_bytes)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self._cache.get(range(len(self))[index], self._load)

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask that shows anything. Reads the mask alone."""
        mask = self.photographs[index].mask
        return mask is not None and bool(read_mask(mask).any())

    def _load(self, index: int) -> Sample:
        return squash(load_sample(self.photographs[index]), self.side)


def load_sample(photograph: Photograph) -> Sample:
    """One photograph and its mask at full size. Raises InputError for an unreadable file or a mask of another size."""
    image = read_image(photograph.image)
    if photograph.defect is None:
        mask = np.zeros(image.shape[:2], np.uint8)
    elif photograph.mask is None:
        mask = None
    else:
        mask = read_mask(photograph.mask)
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"mask {photograph.mask} is {mask.shape[1]}x{mask.shape[0]} but its image {photograph.image} is "
                f"{image.shape[1]}x{image.shape[0]}; they must show the same pixels"
            )
    return make_sample(photograph.record, photograph.key, photograph.defect, image, mask)


def make_sample(record: Record, key: str, defect: str | None, image: np.ndarray, mask: np.ndarray | None) -> Sample:
    """A sample of a folder dataset, where a folder's name is all that is known of a defect."""
    facts = None if defect is None else Defect(kind=defect.replace("_", " "), cause="", remedy="")
    return Sample(image, mask, record.defective, record.category, record.split, key, defect=facts)


def squash(sample: Sample, side: int | None) -> Sample:
    """The sample at side x side pixels; as it is where side is None."""
    if side is None:
        return sample
    mask = None if sample.mask is None else resize_mask(sample.mask, side)
    return dataclasses.replace(sample, image=resize_square(sample.image, side), mask=mask)


def scan_folder(root: str | Path, categories: Sequence[str] | None = None) -> list[Photograph]:
    """Every photograph of a folder in MVTec layout, ordered by category, split, good before defective, and name.

    Reads names only. Raises InputError for a missing folder, one without images in this layout or without a good one,
    an unknown category, and a mask without its image.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no such folder: {root}; expected {LAYOUT}")
    found = _category_folders(root)
    if not found:
        raise InputError(f"no images in MVTec layout in {root}; expected {LAYOUT}")
    unknown = [category for category in categories or () if category not in found]
    if unknown:
        raise InputError(f"no category {', '.join(unknown)} in {root}; there are {', '.join(found)}")
    photographs = [
        photograph
        for category, folder in found.items()
        if not categories or category in categories
        for photograph in _scan_category(category, folder)
    ]
    if all(photograph.defect is not None for photograph in photographs):
        raise InputError(f"no good images in {root}; put some into <category>/train/{GOOD}")
    return photographs


def _category_folders(root: Path) -> dict[str, Path]:
    """Category name to folder: the subfolders with a train or test split, or else the root itself."""
    found = {folder.name: folder for folder in _folders(root) if _has_split(folder)}
    if not found and _has_split(root):
        found = {root.resolve().name: root}
    return found


def _has_split(folder: Path) -> bool:
    return any((folder / split).is_dir() for split in SPLITS)


def _scan_category(category: str, folder: Path) -> list[Photograph]:
    photographs = []
    for split in SPLITS:
        kinds = sorted(_folders(folder / split), key=lambda path: (path.name != GOOD, path.name))
        for kind in kinds:
            defect = None if kind.name == GOOD else kind.name
            masks = {} if defect is None else _masks(folder / "ground_truth" / defect)
            for image in _images(kind):
                key = f"{category}/{image.relative_to(folder).as_posix()}"
                photographs.append(Photograph(category, split, defect, key, image, masks.get(image.stem)))
    used = {photograph.mask for photograph in photographs}
    for kind in _folders(folder / "ground_truth"):
        for mask in _masks(kind).values():
            if mask not in used and kind.name != GOOD:
                raise InputError(
                    f"mask without an image: {mask}; add test/{kind.name}/{mask.stem.removesuffix('_mask')}.png "
                    "or remove the mask"
                )
    return photographs


def _masks(folder: Path) -> dict[str, Path]:
    """Image stem to mask; a mask is called NNN_mask or like its image."""
    return {path.stem.removesuffix("_mask"): path for path in _images(folder)}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    names = (
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    return sorted(names)
