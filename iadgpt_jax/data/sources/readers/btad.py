"""BTAD: three products 01, 02, 03 in MVTec layout, where good parts are called ok and defective ones ko; .bmp or
.png, and a mask may have another suffix than its image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from iadgpt_jax.data.sources.entry import Entry
from iadgpt_jax.data.sources.readers.mvtec_layout import read_mvtec
from iadgpt_jax.data.sources.tree import Tree


def read(tree: Tree) -> Iterator[Entry]:
    """Every image; of a defect nothing is known but its place, so its kind is "defect"."""
    for entry in read_mvtec(tree, good=("ok",)):
        yield replace(entry, defect="defect") if entry.defect == "ko" else entry
