"""A dataset in its published layout, read in place by its line of `DATASETS`, without preparing it first."""

from __future__ import annotations

from pathlib import Path

from iadgpt_jax.data.sources.cache import DEFAULT_BYTES, SampleCache
from iadgpt_jax.data.sources.datasets import DATASETS
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.data.sources.folder import FolderSource, to_sample
from iadgpt_jax.data.sources.load import load_entry
from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.sources.tree import Tree
from iadgpt_jax.errors import InputError


class PublishedSource(FolderSource):
    """A `Source` over the folder of a published dataset; images keep their size.

    What cannot be used, in the reader's words, is in `left_out`. Raises InputError where the folder is not as expected;
    an image that cannot be read is an error when it is asked for, a mask is then taken for missing.
    """

    def __init__(self, root: str | Path, dataset: str, cache_bytes: int = DEFAULT_BYTES):
        tree = Tree(root)
        self._root, self.name = Path(root), tree.name
        self._entries = list(DATASETS[dataset].read(tree))
        self.left_out: list[LeftOut] = tree.left_out
        if not self._entries:
            raise InputError(f"no image of {dataset} in {root}; {_first(tree.left_out)}")
        self.records = [entry.record(masked=entry.defect is None or bool(entry.masks)) for entry in self._entries]
        self._cache = SampleCache(cache_bytes)

    def _load(self, index: int) -> Sample:
        return to_sample(load_entry(self._root, self._entries[index], left_out=[]))


def _first(left_out: list[LeftOut]) -> str:
    return f"the first that was left out, {left_out[0].path}: {left_out[0].why}" if left_out else "there is nothing"
