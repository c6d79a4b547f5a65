"""Photographs in a folder, read in place: in the layout of MVTec AD, or good parts beside others (readers/folder.py).

A defective photograph without a mask is fine: nobody drew where. words.jsonl in the folder adds words (words.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iadgpt_jax.data.images import read_mask
from iadgpt_jax.data.sources.cache import DEFAULT_BYTES, SampleCache
from iadgpt_jax.data.sources.entry import Entry
from iadgpt_jax.data.sources.load import Loaded, load_entry
from iadgpt_jax.data.sources.pixel_hashes import Watch, hash_files, unwatched
from iadgpt_jax.data.sources.readers.folder import read
from iadgpt_jax.data.sources.resize import squash
from iadgpt_jax.data.sources.sample import Conversation, Sample
from iadgpt_jax.data.sources.tree import Tree
from iadgpt_jax.data.sources.words import WORDS_FILE, Words
from iadgpt_jax.errors import InputError


class FolderSource:
    """A `Source` over a folder of photographs; images and masks are squashed to side x side where a side is given,
    masks by the rule `mask_resize` (data/images.resize_mask).

    reduced: large JPEGs are read at a fraction of their size (data/images.decode_image).
    `categories` and `split` restrict it. Raises InputError where the folder or a chosen category is not as expected; an
    image or mask that cannot be read is an error when it is asked for.
    """

    def __init__(
        self,
        root: str | Path,
        side: int | None = None,
        categories: Sequence[str] | None = None,
        split: str | None = None,
        cache_bytes: int = DEFAULT_BYTES,
        mask_resize: str = "max_pool",
        reduced: bool = False,
    ):
        self._reduced = side if reduced else None
        self.name = Path(root).resolve().name
        self.side, self.mask_resize = side, mask_resize
        self._root = Path(root)
        entries, self.notes = read_folder(root, categories)  # notes: a line for each folder, what it was taken for
        self._entries = [entry for entry in entries if split in (None, entry.split)]
        self.records = [entry.record(masked=entry.defect is None or bool(entry.masks)) for entry in self._entries]
        self._cache = SampleCache(cache_bytes)

    @property
    def keys(self) -> list[str]:
        """The key of every index."""
        return [entry.key for entry in self._entries]

    @property
    def content(self) -> bytes:
        """Names and sizes of all files: other bytes where the folder holds other photographs or masks. Reads none."""
        listed = []
        for path in sorted({path for entry in self._entries for path in entry.files}):
            place = self._root / path
            listed.append(f"{path}\0{place.stat().st_size if place.is_file() else -1}")
        return "\n".join(listed).encode(errors="surrogatepass")

    def pixel_hashes(self, indices: np.ndarray, watch: Watch = unwatched) -> tuple[np.ndarray, np.ndarray]:
        """As data/sources/pixel_hashes.py says. Reads and decodes every file."""
        entries = [self._entries[index] for index in indices]
        files = [(place, path) for place, entry in enumerate(entries) for path in (entry.image, *entry.more_images)]
        hashes = hash_files([self._root / path for _, path in files], watch)
        readable = [number for number, one in enumerate(hashes) if one is not None]
        found = b"".join(hashes[number] for number in readable)
        owners = np.array([files[number][0] for number in readable], np.int64)
        return np.frombuffer(found, np.uint8).reshape(-1, 32), owners

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self._cache.get(range(len(self))[index], self._load)

    def conversation(self, index: int) -> Conversation:
        """The words of a sample. Reads no photograph."""
        entry = self._entries[index]
        return Conversation(entry.exchanges, entry.references, entry.random_references)

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask that shows anything. Reads its masks alone."""
        return any(read_mask(self._root / path).any() for path in self._entries[index].masks)

    def _load(self, index: int) -> Sample:
        return squash(
            to_sample(load_entry(self._root, self._entries[index], side=self._reduced)), self.side, self.mask_resize
        )


def read_folder(root: str | Path, categories: Sequence[str] | None = None) -> tuple[list[Entry], list[str]]:
    """Every photograph of a folder, by category, split, good before defective, and name; and a line for each of its
    folders, what it was taken for.

    Reads names only. Raises InputError for a missing folder, one without images in a layout that is known, an unknown
    category, no good images at all, and a mask without its image.
    """
    tree = Tree(root)
    entries = list(read(tree))
    if tree.left_out:
        first = tree.left_out[0]
        raise InputError(f"{first.why}: {tree.path(first.path)}; add the image or remove the mask")
    found = dict.fromkeys(entry.category for entry in entries)
    if unknown := [category for category in categories or () if category not in found]:
        raise InputError(f"no category {', '.join(unknown)} in {root}; there are {', '.join(found)}")
    entries = [entry for entry in entries if not categories or entry.category in categories]
    if all(entry.defect is not None for entry in entries):
        raise InputError(f"no good images in {root}; put some into <category>/train/good")
    if (Path(root) / WORDS_FILE).is_file():
        with Words(Path(root) / WORDS_FILE) as words:
            entries = [words.add_to(entry) for entry in entries]
    return entries, [note for note in tree.notes if not categories or note.partition("/")[0] in categories]


def to_sample(loaded: Loaded) -> Sample:
    """An entry with its pixels, as a sample."""
    entry = loaded.entry
    defective = None if entry.defect == "" else entry.defect is not None
    return Sample(
        loaded.image,
        loaded.mask,
        defective,
        entry.category,
        entry.split,
        entry.key,
        captions=entry.captions,
        defect=entry.facts(),
        viewpoint=entry.viewpoint,
        more_images=loaded.more_images,
        exchanges=entry.exchanges,
        references=entry.references,
        random_references=entry.random_references,
    )
