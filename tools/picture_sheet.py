"""A picture sheet of the procedural products: per row a category, good ones left, defects with their masks right.

python tools/picture_sheet.py --out=sheet.png [--seed=0] [--split=train|held_out] [--side=112]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from iadgpt_jax.data.sources.procedural import ProceduralSource

_GAP, _INK = 4, (225, 40, 60)


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the mask's contour drawn on it: uint8[H, W, 3]."""
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(image.copy(), contours, -1, _INK, 1, cv2.LINE_AA)


def row(source: ProceduralSource, category: int, good: int, bad: int) -> np.ndarray:
    """Good examples, then defective ones each beside its outline."""
    per = source.normal + source.defective
    cells = [source[category * per + j].image for j in range(good)]
    for j in range(bad):
        sample = source[category * per + source.normal + j]
        cells += [sample.image, outlined(sample.image, sample.mask)]
    edge = np.full((cells[0].shape[0], _GAP, 3), 255, np.uint8)
    wide = np.full((cells[0].shape[0], 3 * _GAP, 3), 255, np.uint8)
    pieces: list[np.ndarray] = []
    for k, cell in enumerate(cells):
        pieces += [wide if k >= good and (k - good) % 2 == 0 else edge, cell]
    return np.concatenate(pieces[1:], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    parser.add_argument("--side", type=int, default=112, help="side of each picture in pixels")
    parser.add_argument("--categories", type=int, default=0, help="rows; default: one per family of the split")
    parser.add_argument("--first", type=int, default=0, help="first category shown")
    parser.add_argument("--good", type=int, default=3)
    parser.add_argument("--bad", type=int, default=4)
    args = parser.parse_args()
    count = args.categories or (23 if args.split == "train" else 16)
    source = ProceduralSource(
        args.seed, args.split, args.first + count, normal=max(1, args.good), defective=max(1, args.bad), side=args.side
    )
    rows = [row(source, args.first + k, args.good, args.bad) for k in range(count)]
    line = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([piece for r in rows for piece in (r, line)][:-1])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(args.out), sheet[..., ::-1]):
        raise SystemExit(
            f"picture_sheet: could not write {args.out}; give a path ending in .png in a folder you may write to"
        )
    print(f"{args.out}: {sheet.shape[1]} × {sheet.shape[0]}, {count} categories of seed {args.seed}, {args.split}")


if __name__ == "__main__":
    main()
