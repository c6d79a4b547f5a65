"""A source whose texts have the length a test asks for: what budgets of rows are held against."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from iadgpt_jax.data.sources.sample import Defect, Record, Sample

WORDS = "steel ring with fine grooves and a dull grey coat that shows some wear along its outer edge".split()


def text(rng: np.random.Generator, tokens: float) -> str:
    """Sentences of about `tokens` tokens of Qwen's tokenizer: most of these words are one."""
    words = [WORDS[i] for i in rng.integers(len(WORDS), size=max(1, round(tokens)))]
    sentences = [" ".join(words[i : i + 14]).capitalize() + "." for i in range(0, len(words), 14)]
    return " ".join(sentences)


class Worded:
    """`categories` products, 8 good and 8 defective photographs each; three captions of `tokens` tokens on average,
    from a half to one and a half times as many; what is said of a defect is as long."""

    name = "worded"

    def __init__(self, tokens: float, side: int = 448, categories: int = 12):
        self.tokens, self.side = tokens, side
        self.records = tuple(
            Record(f"product_{c:02d}", "train", bool(j >= 8), captioned=True)
            for c in range(categories)
            for j in range(16)
        )

    @cached_property
    def _picture(self) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (self.side, self.side, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        rng, record = np.random.default_rng(index), self.records[index]
        lengths = self.tokens * rng.uniform(0.5, 1.5, 4)
        mask = np.zeros((self.side, self.side), np.uint8)
        if record.defective:
            mask[: self.side // 4, : self.side // 4] = 1
        defect = Defect("scratch", text(rng, lengths[3] / 2), text(rng, lengths[3] / 2)) if record.defective else None
        captions = tuple(text(rng, length) for length in lengths[:3])
        return Sample(
            self._picture, mask, record.defective, record.category, record.split, f"{index:04d}", captions, defect
        )
