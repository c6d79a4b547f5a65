"""A source without some of its records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iadgpt_jax.data.sources.sample import Record, Sample, Source


class Subset:
    """The records `rows` (int64[N]) of the source `whole`, in this order."""

    def __init__(self, whole: Source, rows: np.ndarray):
        self.whole, self.rows, self.name = whole, np.asarray(rows, np.int64), whole.name
        records = whole.records
        self.records: Sequence[Record] = [records[row] for row in self.rows]

    @property
    def keys(self) -> list[str]:
        """The key of every index, of a source that has them."""
        keys = self.whole.keys
        return [keys[row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        return self.whole[int(self.rows[index])]

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask that shows anything."""
        row = int(self.rows[index])
        if hasattr(self.whole, "has_mask"):
            return self.whole.has_mask(row)
        mask = self.whole[row].mask
        return mask is not None and bool(mask.any())
