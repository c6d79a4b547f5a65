"""The static sizes of a packed row, the same for every row of a run: what XLA compiles for."""

from __future__ import annotations

from dataclasses import dataclass

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.answer_loss import WORDS
from iadgpt_jax.models.attention import Lanes


@dataclass(frozen=True)
class RowShape:
    """Static sizes of one row; with `lanes`, how its slots are cut."""

    slots: int
    images: int
    patches: int
    maps: int
    keyword_rows: int
    targets: int
    mask_side: int
    lanes: Lanes | None = None
    verdict_weight: float = 1.0  # of a detection's verdict in the answer loss
    words_weight: float = 1.0  # of words that name the kind or the place of a defect; any other target weighs 1

    def __post_init__(self):
        if self.lanes and self.slots != self.lanes.slots:
            raise InputError(f"row shape: {self.slots} slots, but its lanes {self.lanes} take {self.lanes.slots}")

    @property
    def weights(self) -> tuple[float, ...]:
        """Of a target in the answer loss, by what it says: as Rows.target_words counts."""
        return (1.0, *(self.verdict_weight if word == "verdict" else self.words_weight for word in WORDS))

    @classmethod
    def of(cls, row) -> RowShape:
        """What config.row (configs/common.py) says."""
        lanes = None
        if row.lanes:
            lanes = Lanes(row.prefix, tuple((count, slots + row.lane_more) for count, slots in row.lanes))
        return cls(
            row.slots, row.images, row.patches, row.maps, row.keyword_rows, row.targets, row.mask_side, lanes,
            row.verdict_weight, row.words_weight,
        )  # fmt: skip
