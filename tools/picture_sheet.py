"""A picture sheet of the procedural products: a row per category, good ones left, defects and masks right; or, with
--synthesis, of what every synthesizer makes of a good image of each category.

python tools/picture_sheet.py --out=sheet.png [--seed=0] [--split=both|train|held_out] [--side=112] [--rows=16]
python tools/picture_sheet.py --out=sheet.jpg --synthesis [--source=DIR] [--seed=0] [--side=112] [--rows=16]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.synthesis.table import SYNTHESIZERS
from iadgpt_jax.data.tasks.task_source import Category, TaskSource
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.procedural import Factory
from iadgpt_jax.procedural.families import TRAINED, UNSEEN

_GAP, _NAME = 4, 84  # pixels between pictures, and for the family's name
_PAPER, _TEXT, _OUTLINE = 255, (70, 74, 82), (255, 30, 70)
_GOOD, _BAD = 3, 4  # pictures per row
_MADE = 2  # by each synthesizer


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture, slightly faded, with the mask's outline drawn on it: uint8[H, W, 3]."""
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    faded = cv2.addWeighted(image, 0.75, np.full_like(image, 255), 0.25, 0)
    return cv2.drawContours(faded, contours, -1, _OUTLINE, 1, cv2.LINE_AA)


def label(text: str, width: int, height: int) -> np.ndarray:
    """Dark text on white, left-aligned, centred vertically: uint8[height, width, 3]."""
    paper = np.full((height, width, 3), _PAPER, np.uint8)
    at = (4, height // 2 + 4)
    return cv2.putText(paper, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)


def row(factory: Factory, category: int) -> np.ndarray:
    """The family's name, good examples, then defective ones, each followed by its outlined copy."""
    first = category * (factory.normal + factory.defective)
    cells = [factory[first + j].image for j in range(_GOOD)]
    for j in range(_BAD):
        piece = factory[first + factory.normal + j]
        cells += [piece.image, outlined(piece.image, piece.mask)]
    pieces = [label(factory.design(category).family, _NAME, factory.side)]
    for k, cell in enumerate(cells):
        gap = 3 * _GAP if k >= _GOOD and (k - _GOOD) % 2 == 0 else _GAP
        pieces += [np.full((factory.side, gap, 3), _PAPER, np.uint8), cell]
    return np.concatenate(pieces, axis=1)


def sheet(seed: int, split: str, rows: int, side: int) -> np.ndarray:
    """uint8[H, W, 3]: `rows` categories; with "both", a quarter of them from families that are never trained on."""
    train = Factory(seed, "train", len(TRAINED), _GOOD, _BAD, side)
    held_out = Factory(seed, "held_out", 4 * len(UNSEEN), _GOOD, _BAD, side)
    unseen = {"both": rows // 4, "train": 0, "held_out": rows}[split]
    strips = [row(train, k * len(TRAINED) // (rows - unseen)) for k in range(rows - unseen)]
    strips += [row(held_out, 4 * k if split == "both" else k) for k in range(unseen)]
    width, (cell, pair) = strips[0].shape[1], (side + _GAP, 2 * side + 4 * _GAP)
    header = (
        label("", _NAME + _GAP, 22),
        label("good", _GOOD * cell + 2 * _GAP, 22),
        label("defective, with mask", pair, 22),
    )
    top = np.concatenate(header, axis=1)
    top = np.pad(top, ((0, 0), (0, width - top.shape[1]), (0, 0)), constant_values=_PAPER)
    line = np.full((_GAP, width, 3), _PAPER, np.uint8)
    return np.concatenate([top, *(piece for strip in strips for piece in (strip, line))])


def synthetic_row(source: TaskSource, category: Category, seed: int, side: int) -> np.ndarray:
    """The category's name, a good image, then what each synthesizer makes of it, twice, beside its outlined copy."""
    rng = np.random.default_rng([seed, *category.name.encode()])
    chosen = rng.permutation(category.good)
    good, other = source[chosen[0]].image, source[chosen[-1]].image
    pieces = [label(category.name[:24], 2 * _NAME, side), np.full((side, _GAP, 3), _PAPER, np.uint8), good]
    for synthesizer in SYNTHESIZERS.values():
        for number in range(_MADE):
            made = synthesizer.make(good, rng, *([other] if synthesizer.another else []))
            image, mask = made or (np.full_like(good, _PAPER), np.zeros((side, side), np.uint8))
            gap = np.full((side, _GAP if number else 3 * _GAP, 3), _PAPER, np.uint8)
            pieces += [gap, image, np.full((side, _GAP, 3), _PAPER, np.uint8), outlined(image, mask)]
    return np.concatenate(pieces, axis=1)


def synthesis_sheet(source: Source, seed: int, rows: int, side: int) -> np.ndarray:
    """uint8[H, W, 3]: `rows` categories of a source whose images are side x side, spread over those it has. Where no
    defect would show, a picture is white."""
    drawn_from = TaskSource(source)
    good = [category for category in drawn_from.categories if category.good]
    shown = min(rows, len(good))
    chosen = [good[k * len(good) // shown] for k in range(shown)]
    strips = [synthetic_row(drawn_from, category, seed, side) for category in chosen]
    header = [label("", 2 * _NAME + _GAP, 22), label("good", side, 22)]
    width = _MADE * (2 * side + 2 * _GAP) + 2 * _GAP
    header += [label(f"   {synthesizer.name}, with mask", width, 22) for synthesizer in SYNTHESIZERS.values()]
    line = np.full((_GAP, strips[0].shape[1], 3), _PAPER, np.uint8)
    return np.concatenate([np.concatenate(header, axis=1), *(piece for strip in strips for piece in (strip, line))])


@clear_errors()
def main() -> None:
    """Writes the sheet."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the PNG or JPEG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("both", "train", "held_out"), default="both")
    parser.add_argument("--synthesis", action="store_true", help="show what the synthesizers make of good images")
    parser.add_argument("--source", default="procedural", help="with --synthesis: a dataset or folder of photographs")
    parser.add_argument("--side", type=int, default=112, help="side of each picture in pixels")
    parser.add_argument("--rows", type=int, default=16, help=f"categories shown, at most {len(TRAINED)}")
    args = parser.parse_args()
    if args.side < 28:
        raise InputError(f"picture_sheet: --side={args.side} is too small to see anything; choose 28 or more")
    if not 1 <= args.rows <= len(TRAINED):
        raise InputError(f"picture_sheet: --rows={args.rows} is outside 1..{len(TRAINED)}; choose a number within")
    if args.out.suffix not in (".png", ".jpg"):
        raise InputError(f"picture_sheet: --out={args.out} is no picture; give a name ending in .png or .jpg")
    if args.synthesis:
        source = open_source(args.source, side=args.side, seed=args.seed)
        picture = synthesis_sheet(source, args.seed, args.rows, args.side)
    else:
        picture = sheet(args.seed, args.split, args.rows, args.side)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.out), picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80)):
        raise InputError(f"picture_sheet: could not write {args.out}; give a folder you may write to")
    print(f"{args.out}: {picture.shape[1]} × {picture.shape[0]} pixels, up to {args.rows} categories, seed {args.seed}")


if __name__ == "__main__":
    main()
