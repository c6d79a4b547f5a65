"""Procedural products as a source: photographs and words from a seed, without files (iadgpt_jax/procedural)."""

from __future__ import annotations

from collections.abc import Callable

from iadgpt_jax.data.sources.sample import Defect, Record, Sample
from iadgpt_jax.procedural import Factory


class ProceduralSource:
    """`categories` products × (`normal` good + `defective` bad) photographs of `side` pixels, made on demand and kept.

    Index = category · (normal + defective) + j, good ones first. `split` is "train", or "held_out" for products that no
    training source of any size shares, a quarter of them from families that never train.

    Raises:
      ValueError: another split.
    """

    def __init__(self, seed: int, split: str = "train", categories: int = 800, normal: int = 8, defective: int = 8,
                 side: int = 112):  # fmt: skip
        self.factory = Factory(seed, split, categories, normal, defective, side)
        self.name = f"procedural_{split}"
        label = "train" if split == "train" else "test"
        self.records = tuple(
            Record(name, label, j >= normal, captioned=True)
            for name in self.factory.names
            for j in range(self.factory.per_category)
        )

    @property
    def content(self) -> bytes:
        """What its photographs follow from."""
        factory = self.factory
        return f"{self.name} {factory.seed} {factory.per_category}".encode()

    @property
    def keys(self) -> list[str]:
        """The key of every index."""
        many = self.factory.per_category
        return [self._key(record.category, index % many) for index, record in enumerate(self.records)]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        made = self.factory[index]
        return Sample(
            image=made.image,
            mask=made.mask,
            defective=made.defective,
            category=made.category,
            split=self.records[index].split,
            key=self._key(made.category, made.instance),
            captions=made.captions,
            defect=None if made.defect is None else Defect(*made.defect),
        )

    def _key(self, category: str, instance: int) -> str:
        return f"{self.name}/{self.factory.seed}/{category}/{instance:02d}"

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask: every one has."""
        return True

    def prepare(self, workers: int = 2, progress: Callable[[int, int], None] | None = None) -> None:
        """Renders all now, in `workers` processes (in this one if ≤ 1); `progress` gets (categories done, of)."""
        self.factory.prepare(workers, progress)
