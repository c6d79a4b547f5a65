"""A source whose every image can be told apart, and whose defects a test can see without asking the source."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.data.place import place_on_grid
from iadgpt_jax.data.sources.sample import IMAGE_MARK, Defect, Exchange, Record, Sample

SIDE = 56


class Numbered:
    """Good images are grey, 10 + index; defective ones have a white square at a place of their own.

    good: images of each category, one number or one for each. masks: of the defective images, "all",
    "none", "black" (there, but empty) or "half" (every other image has one).
    talks: a question with its answer comes with every image.
    """

    name = "numbered"

    def __init__(self, categories=3, good=8, defective=4, masks="all", talks=False):
        self.masks, self.talks = masks, talks
        self.good = [good] * categories if isinstance(good, int) else list(good)
        self.records = tuple(
            Record(f"product_{c}", "train", j >= count, captioned=True, exchanges=int(talks))
            for c, count in enumerate(self.good)
            for j in range(count + defective)
        )  # fmt: skip

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        record = self.records[index]
        image = np.full((SIDE, SIDE, 3), 10 + index, np.uint8)
        image[::2, ::3] += 100  # some texture, so that CutPaste shows
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if record.defective:
            row, column = divmod(index % 9, 3)
            mask[row * 19 + 4 : row * 19 + 14, column * 19 + 4 : column * 19 + 14] = 1
            image[mask > 0] = 255
        return Sample(
            image, mask if not record.defective else self._mask(mask, index), record.defective, record.category,
            "train", f"{index}", ("It is a disc.", "It is steel.", "It is smooth."),
            Defect("scratch", "contact with a tool", "cover the edge") if record.defective else None,
            exchanges=(Exchange(f"{IMAGE_MARK}\nWhat is it?", "It is a disc."),) if self.talks else (),
        )  # fmt: skip

    def _mask(self, mask, index):
        if self.masks == "black":
            return np.zeros_like(mask)
        return None if not self.has_mask(index) else mask

    def has_mask(self, index):
        """Whether a test may expect the defective image at `index` to have a mask that shows something."""
        return {"all": True, "none": False, "black": False, "half": index % 2 == 0}[self.masks]


def number(image: np.ndarray) -> int:
    """The index of the image that `Numbered` made, augmented or not."""
    return int(image[image < 255].min()) - 10


def is_defective(image: np.ndarray) -> bool:
    return bool((image == 255).any())


def white_mask(image: np.ndarray) -> np.ndarray:
    return (image == 255).all(axis=-1).astype(np.uint8)


def white_place(image: np.ndarray) -> str:
    return place_on_grid(white_mask(image))


def instances(task, count=60):
    for index in range(count):
        yield task.instance(index, np.random.default_rng(index))
