"""Inspect photographs of a product against good examples of it: verdict, reasons, and a map of where to look.

    python launch/predict.py --checkpoint=DIR --reference=A.png [--reference=B.png …] --query=Q.png [--query=…]

Writes OUT/<query>_overlay.png (the map over the photograph) and OUT/<query>_map.png (16 bits, with its scale noted
inside). Nothing is trained and no threshold is set: the score is the probability that the product is defective, the
margin its log-odds, which still tells sure verdicts apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import logging
from PIL import Image

from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.data.detection_prompt import PROMPTS, named_prompt
from iadgpt_jax.data.images import read_image
from iadgpt_jax.errors import InputError, Parser, clear_errors, printable
from iadgpt_jax.evaluate.heatmap import overlay, save_map_png16
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.progress import progress

CALM = 2.0  # the hottest colour is at least this many times as far from cold as the good examples' own maps reach


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.ERROR)
    flags = parse(arguments)

    # ---- Check the arguments before JAX is loaded ----
    kind_of(flags.checkpoint)
    prompt = named_prompt(flags.prompt) if flags.prompt else None
    queries = [read_image(path) for path in flags.query]
    references = [read_image(path) for path in flags.reference]
    try:
        flags.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {flags.out}: {error.strerror}; choose another --out") from error

    # ---- Inspect: the queries, and the good examples themselves, whose maps show what is normal ----
    print(f"loading {flags.checkpoint}", file=sys.stderr)
    from iadgpt_jax.infer.inspector import Inspector

    inspector = Inspector.load(flags.checkpoint, ratio=flags.ratio, side=flags.side, prompt=prompt)
    pictures = [*queries, *references]
    inspections = inspector.inspections(pictures, references)
    results = list(progress(inspections, len(pictures), "inspecting", "images"))

    # ---- Write and print ----
    results, calm = results[: len(queries)], results[len(queries) :]
    low, high = scale([r.map for r in results], [r.map for r in calm])
    extent = min(float(r.map.min()) for r in results), max(float(r.map.max()) for r in results)
    extent = extent[0], max(extent[1], float(np.nextafter(np.float32(extent[0]), np.float32(np.inf))))
    records = []
    for path, picture, result, stem in zip(flags.query, queries, results, stems(flags.query), strict=True):
        map_path, overlay_path = flags.out / f"{stem}_map.png", flags.out / f"{stem}_overlay.png"
        save_map_png16(map_path, result.pixel_map, *extent)
        Image.fromarray(overlay(picture, result.map, low, high)).save(overlay_path)
        records.append(
            {
                "query": str(path),
                "score": result.score,
                "margin": result.margin,
                "defective": result.defective,
                "answer": result.answer,
                "explanation": result.explanation,
                "map": str(map_path),
                "overlay": str(overlay_path),
            }
        )
        if not flags.json:
            print(printable(readable(path, inspector.prompt.question, result, map_path, overlay_path)))
    if flags.json:
        print(json.dumps(records if len(records) > 1 else records[0], indent=2, ensure_ascii=False))


def scale(maps: Sequence[np.ndarray], calm: Sequence[np.ndarray]) -> tuple[float, float]:
    """(cold, hottest) of the overlays, shared by all pictures. calm: maps of the good examples: their middle is cold,
    and neither they nor a query as calm as they are may look hot. A scale of each picture's own would make every good
    product glow somewhere."""
    low = float(np.median(np.concatenate([m.ravel() for m in calm or maps])))
    high = max(float(m.max()) for m in maps)
    if calm:
        high = max(high, low + CALM * (max(float(m.max()) for m in calm) - low))
    return low, high


def stems(paths: Sequence[Path]) -> list[str]:
    """A file stem for each query; those that occur twice are numbered."""
    taken: set[str] = set()
    out = []
    for path in paths:
        stem, number = path.stem, 1
        while stem in taken:
            number += 1
            stem = f"{path.stem}_{number}"
        taken.add(stem)
        out.append(stem)
    return out


def readable(path: Path, question: str, result: Inspection, map_path: Path, overlay_path: Path) -> str:
    verdict = "defective" if result.defective else "normal"
    return (
        f"{path}: {verdict}, score {result.score:.3f} (margin {result.margin:+.2f})\n"
        f"  {question}\n"
        f'                  "{result.answer}"\n'
        f'  what is wrong?  "{result.explanation}"\n'
        f"  where           {overlay_path}, {map_path}"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, buckets=("checkpoint",))
    parser.add_argument(
        "--checkpoint", required=True, type=Path, metavar="DIR",
        help="a training workdir, one step in its checkpoints folder, or a Hugging Face directory",
    )  # fmt: skip
    parser.add_argument(
        "--query", required=True, action="append", type=Path, metavar="FILE",
        help="the photograph to inspect; give the flag again for more of the same product",
    )  # fmt: skip
    parser.add_argument(
        "--reference", action="append", default=[], type=Path, metavar="FILE",
        help="a photograph of a good product; 1, 2 or 4 of them work best (without any, hardly a defect is found)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), metavar="DIR",
        help="folder for maps and overlays (default: predictions)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print JSON alone: an object, or a list for several queries"
    )
    parser.add_argument(
        "--ratio", type=float, default=1.0, metavar="R",
        help="share of the tokens kept of every reference but the first, 0 < R <= 1 (default: 1.0)",
    )  # fmt: skip
    parser.add_argument(
        "--prompt", default="", metavar="NAME",
        help=f"detection prompt: {', '.join(PROMPTS)} (default: that of training)",
    )  # fmt: skip
    parser.add_argument(
        "--side", type=int, metavar="N",
        help="pixels of the square that images are squashed to, a multiple of 28 (default: that of training)",
    )  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
