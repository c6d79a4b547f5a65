"""One self-contained page of what a stage is made of: the counts, and rows as they are trained on, to be looked at.

What is shown is read back from packed rows (data/unpack.py), not from what went into them. Layout and style are in
`composition.html.jinja` and `look.css.jinja` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iadgpt_jax.data.loader import Batches
from iadgpt_jax.data.pack import Packed
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.data.unpack import Held, Part, Run, held_in, image_in, masks_in
from iadgpt_jax.evaluate.gallery import Picture, picture
from iadgpt_jax.evaluate.heatmap import outline
from iadgpt_jax.evaluate.page import environment
from iadgpt_jax.whole_file import write_whole

GROUPS = 16  # of rows looked through, at most, for every task
SIDE, QUALITY = 224, 82  # of pictures
OUTLINE = (255, 64, 32)  # of masks
_HUES = ("c1", "c2", "c3", "c4", "c5", "c6")


@dataclass(frozen=True)
class Words:
    """A run of a conversation. kind: "text", "taught", or "image", whose text says which and how many tokens it has."""

    kind: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Shown:
    """An image slot. masked: "" where no map is supervised, else what its mask holds."""

    number: int
    picture: Picture
    masked: str


@dataclass(frozen=True)
class Example:
    """An instance in a row. bars: (left, width) of its parts in percent of the row's slots."""

    task: str
    hue: str
    slots: int
    images: Sequence[Shown]
    parts: Sequence[tuple[str, Sequence[Words]]]
    bars: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """A row to look at. filled: its slots with content."""

    group: int
    number: int
    filled: int
    slots: int
    images: int
    image_slots: int
    learned: int
    examples: Sequence[Example]


def write_page(path: str | Path, composition: Mapping[str, Any], batches: Batches, examples: int) -> None:
    """Write the page of a composition (data/composition.py) with `examples` rows, chosen so that every task is seen if
    they can. The file appears complete or not at all."""
    path = Path(path)
    template = environment().get_template("composition.html.jinja")
    page = template.render(c=composition, rows=example_rows(batches, examples))
    write_whole(path, page)


def example_rows(batches: Batches, count: int) -> list[Row]:
    """`count` rows of the run's first groups: for each task, those with the largest share first, one that holds it."""
    found: list[tuple[set[str], Packed, int, int]] = []
    for group in range(GROUPS):
        packed, _ = batches.packed(group)
        found += [(set(_tasks(packed, row).values()), packed, group, row) for row in range(batches.group)]
        if len(found) >= count and set().union(*(tasks for tasks, *_ in found)) >= set(batches.tasks):
            break
    chosen: list[int] = []
    for part in sorted(batches.parts, key=lambda part: -part.share):
        holding = [i for i, (tasks, *_) in enumerate(found) if part.name in tasks]
        if holding and not set(holding) & set(chosen):
            chosen.append(holding[0])
    chosen += [i for i in range(len(found)) if i not in chosen]
    return [_row(*found[i][1:], batches) for i in chosen[:count]]


def _tasks(packed: Packed, row: int) -> dict[int, str]:
    """Segment -> the task of the instance that lies there."""
    return {
        int(packed.rows.segment[row, place[2][0]]): encoded.task
        for encoded, place in zip(packed.encodeds, packed.where, strict=True)
        if place is not None and place[0] == row
    }


def _row(packed: Packed, group: int, row: int, batches: Batches) -> Row:
    rows, shape = packed.rows, batches.shape
    tasks, masks = _tasks(packed, row), masks_in(rows, row)
    examples = []
    for held in held_in(rows, row):
        hue = _HUES[(held.segment - 1) % len(_HUES)]
        examples.append(_example(held, tasks[held.segment], hue, rows, row, masks, batches))
    filled, images = int((rows.segment[row] > 0).sum()), int((rows.grid[row, :, 0] > 0).sum())
    learned = int((rows.target_weights[row] > 0).sum())
    return Row(group, row, filled, shape.slots, images, shape.images, learned, examples)


def _example(held: Held, task: str, hue: str, rows, row: int, masks, batches: Batches) -> Example:
    slots = sorted({run.image for part in held.parts for run in part.runs if run.image is not None})
    numbers = {slot: number for number, slot in enumerate(slots, 1)}
    vision = batches.encoder.config.vision
    images = [_shown(image_in(rows, row, slot, vision), masks.get(slot), numbers[slot]) for slot in slots]
    tokenizer = batches.encoder.tokenizer
    parts = [
        (_heading(number, part, rows, row, held), [_words(run, numbers, tokenizer) for run in part.runs])
        for number, part in enumerate(held.parts)
        if part.slots
    ]
    total = batches.shape.slots
    bars = [(100 * part.start / total, 100 * part.slots / total) for part in held.parts if part.slots]
    return Example(task, hue, sum(part.slots for part in held.parts), images, parts, bars)


def _heading(number: int, part: Part, rows, row: int, held: Held) -> str:
    where = f"slots {part.start:,} to {part.start + part.slots - 1:,}"
    if number == 0:
        count = len(held.parts) - 1
        return f"Shared by its {count} question{'' if count == 1 else 's'}, {where}"
    sees = int(rows.limit[row, part.start]) - max(held.parts[0].start, 0)
    shared = f", sees {sees} of {held.parts[0].slots} shared" if held.parts[0].slots else ""
    return f"Question {number}, {where}{shared}"


def _words(run: Run, numbers: Mapping[int, int], tokenizer: Tokenizer) -> Words:
    if run.image is not None:
        return Words("image", f"image {numbers[run.image]}", f"{len(run.tokens)} tokens")
    text = tokenizer.decode(run.tokens, skip_special=False)
    if run.taught:
        return Words("taught", text, f"{len(run.tokens)} learned" + ("" if run.laid else ", takes no slot"))
    return Words("text", text)


def _shown(image: np.ndarray, mask: np.ndarray | None, number: int) -> Shown:
    """With the outline of the mask that supervises its map."""
    masked = ""
    if mask is not None:
        masked = f"mask: {mask.mean():.1%} defective" if mask.any() else "mask: nothing defective"
        image = outline(image, mask, OUTLINE)
    return Shown(number, picture(image, f"image {number}", side=SIDE, quality=QUALITY), masked)
