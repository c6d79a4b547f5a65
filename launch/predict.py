"""Inspect photographs of parts against good examples: verdict, reasons, and a map of where to look.

    iadgpt predict --checkpoint=DIR --reference=GOOD --query=PARTS [--good_share=0.95 | --threshold=SCORE] [--out=DIR]
    iadgpt predict --checkpoint=DIR --product=PRODUCT --query=PARTS

GOOD and PARTS are files, folders, or patterns such as 'parts/*.jpg'; each flag may be given again. The first --shots
photographs of GOOD are the references. Those behind them, and those of --good, choose the threshold: the score that
--good_share of good parts stay below. Without any the likelier answer decides.

Writes as it goes, of each part: OUT/<part>_overlay.png (the map over the photograph, with verdict, score and scale),
OUT/<part>_map.png (16 bits, its scale noted inside), and a line of OUT/results.jsonl. At the end OUT/results.csv and
OUT/index.html, a page of all parts. Exit status 1: some photographs could not be read; the others were inspected.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import logging
from PIL import Image

from iadgpt_jax.alone import alone_in
from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.data.detection_prompt import PROMPTS, named_prompt
from iadgpt_jax.data.images import read_image
from iadgpt_jax.data.named_photographs import Named, check_singly_named, file_stems, named_photographs
from iadgpt_jax.errors import InputError, Parser, clear_errors, printable
from iadgpt_jax.evaluate.heatmap import save_map_png16
from iadgpt_jax.evaluate.verdict_picture import verdict_picture
from iadgpt_jax.infer.image_input import as_photograph
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.prefetch import prefetch
from iadgpt_jax.infer.product import (
    MOST_REFERENCES,
    Product,
    check_name,
    check_references,
    checkpoint_name,
    make_in_steps,
    map_scale,
)
from iadgpt_jax.infer.product_file import export_product, open_product, save_product
from iadgpt_jax.infer.threshold import SHARE, Threshold, check_share
from iadgpt_jax.progress import Meter, progress
from iadgpt_jax.room import room_for
from iadgpt_jax.voice import say, warn
from iadgpt_jax.whole_file import whole_file

SHOTS = 4
BRIEFLY = 8  # more parts than these get one line each
ZIP = ".zip"  # of products in one file
UNNAMED = "parts"  # the product that is not kept
DRAWN = ("_map", "_overlay")  # behind a part's name: the pictures that are written of it


class Standard(NamedTuple):
    """What parts are compared with. references: uint8[H, W, 3] each, possibly none. calm: (middle, highest) value of
    the maps of good parts, or None where there is no good part."""

    references: tuple[np.ndarray, ...]
    threshold: Threshold
    calm: tuple[float, float] | None


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.ERROR)
    flags = parse(arguments)

    # ---- Check the arguments before JAX is loaded ----
    if flags.checkpoint is None:
        raise InputError(
            "--checkpoint is missing, and no model comes with this version: give --checkpoint=DIR, or train a small "
            "one with iadgpt quickstart"
        )
    kind_of(flags.checkpoint)
    prompt = named_prompt(flags.prompt) if flags.prompt else None
    check_together(flags)
    queries = photographs_to_read(flags, "query")
    check_singly_named(queries)
    good = [one.path for one in photographs_to_read(flags, "reference")]
    shown, further = good[: flags.shots], good[flags.shots :]
    further += [one.path for one in photographs_to_read(flags, "good")]
    references = tuple(read_image(path) for path in shown)
    measured = bool(further) or flags.good_share is not None
    if measured and len(references) + len(further) < 2:
        raise InputError("one good part cannot set a threshold: name more with --reference or --good, or leave out "
                         "--good_share")  # fmt: skip
    if flags.save_product and not (measured or flags.product):
        raise InputError("--save_product keeps a measured threshold: name more good parts, or give --good_share")
    if measured:
        check_measurable(references)
    product = open_product(flags.product) if flags.product else None
    elsewhere = "choose another --out"
    with alone_in(flags.out, f"writing to {flags.out}", elsewhere), room_for(flags.out, elsewhere, goes_on=False):
        run(flags, prompt, [one.path for one in queries], references, further if measured else None, product)


def photographs_to_read(flags: argparse.Namespace, name: str) -> list[Named]:
    """What a flag names, without the pictures of an earlier inspection: OUT may lie in a folder of photographs."""
    out = flags.out.resolve()
    found = [
        one for one in named_photographs(getattr(flags, name), f"--{name}")
        if one.singly or not (one.path.stem.endswith(DRAWN) and one.path.parent.resolve() == out)
    ]  # fmt: skip
    if not found and getattr(flags, name):
        raise InputError(f"--{name} names nothing but the pictures of earlier inspections in {flags.out}")
    return found


def run(
    flags, prompt, paths: Sequence[Path], references: tuple[np.ndarray, ...], further: list[Path] | None,
    product: Product | None,
) -> None:  # fmt: skip
    """Load the model, and inspect the photographs. further: good parts that choose the threshold with the references;
    None: they do not. product: the one that was given."""
    # ---- The model, and what good parts look like to it ----
    from iadgpt_jax.infer.tiles import parse_tiles, under

    tiles = product.tiles if product else parse_tiles(flags.tiles)
    say(f"loading {flags.checkpoint}")
    from iadgpt_jax.checkpoint.load import open_checkpoint
    from iadgpt_jax.infer.inspector import Inspector

    of_product = {"ratio": product.ratio, "side": product.side} if product else {}
    whole = Inspector.load(flags.checkpoint, prompt=prompt, **({"ratio": flags.ratio, "side": flags.side} | of_product))
    inspector = under(whole, whole.ratio, whole.side, tiles)
    name = checkpoint_name(open_checkpoint(flags.checkpoint), whole.step) if product or further is not None else ""
    if product:
        product.check_made_with(name, whole.prompt)
    elif further is not None:
        product = measure(inspector, name, flags, references, further)
    standard = standard_of(inspector, product, references)
    if flags.threshold is not None:
        standard = standard._replace(threshold=fixed(flags.threshold))
    if flags.save_product and product:
        keep = export_product if flags.save_product.suffix == ZIP else save_product
        keep(dataclasses.replace(product, name=name_in(flags.save_product)), flags.save_product)
        say(f"product saved as {flags.save_product}")
    for line in remarks(flags, standard):
        warn(line)
    say(f"{count(len(standard.references), 'reference')}; defective: {told(standard.threshold, flags)}")

    # ---- Inspect, write and print, a part at a time ----
    records = []
    with (flags.out / "results.jsonl").open("w", encoding="utf-8") as journal:
        parts = inspected(inspector, paths, standard, flags)
        for record in progress(parts, len(paths), "inspecting", "parts"):
            records.append(record)
            line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode()
            print(line, file=journal, flush=True)
            told_so = readable(record, whole.prompt.question, len(paths) > BRIEFLY)
            print(line if flags.json else printable(told_so), flush=True)
    finish(flags, records, standard)


def check_together(flags: argparse.Namespace) -> None:
    """Raise InputError for values that cannot be, or not beside each other."""
    if flags.shots < 1:
        raise InputError(f"--shots={flags.shots}: choose 1 or more; without --reference there are none")
    if flags.good_share is not None:
        check_share(flags.good_share)
    if flags.threshold is not None and not 0 < flags.threshold < 1:
        raise InputError(f"--threshold={flags.threshold}: choose a score above 0 and below 1")
    if flags.threshold is not None and flags.good_share is not None:
        raise InputError("--threshold and --good_share both set the threshold: leave one out")
    if flags.threshold is not None and flags.save_product:
        raise InputError(
            "--save_product keeps the threshold that good parts set, not that of --threshold: leave one of both out"
        )
    if flags.save_product:
        check_name(name_in(flags.save_product))
    if flags.product:
        brought = ("reference", "shots", "good", "good_share", "ratio", "side", "tiles")
        if beside := [f"--{name}" for name in brought if name in flags.given]:
            raise InputError(
                f"--product brings references, threshold, ratio, side and tiles: leave out {', '.join(beside)}"
            )


def name_in(path: Path) -> str:
    """What a product that is kept there is called."""
    return path.stem if path.suffix == ZIP else path.name


def check_measurable(references: Sequence[np.ndarray]) -> None:
    """Raise InputError where no threshold can be chosen with these references."""
    if not references:
        raise InputError("good parts are compared with references: name some with --reference, too")
    if len(references) > MOST_REFERENCES:
        raise InputError(f"--shots makes {len(references)} references; a threshold is chosen with {MOST_REFERENCES} at "
                         "most: choose fewer")  # fmt: skip
    check_references(UNNAMED, references)


def measure(inspector, checkpoint: str, flags, references, further):
    """The product of these good parts, with a line of progress."""
    meter = Meter("measuring good parts", "inspections")
    name = name_in(flags.save_product) if flags.save_product else UNNAMED
    making = make_in_steps(name, references, inspector, checkpoint, further, flags.good_share or SHARE)
    while True:
        try:
            meter(*next(making))
        except StopIteration as made:
            return made.value


def standard_of(inspector, product, references: tuple[np.ndarray, ...]) -> Standard:
    """What parts are compared with: a product's, or the references alone, whose own maps show what is normal."""
    if product:
        return Standard(product.references, product.threshold, product.calm)
    if not references:
        return Standard((), Threshold(), None)
    maps = [one.map for one in inspector.inspections(references, references, explain=False)]
    values = np.concatenate([map_.ravel() for map_ in maps])
    return Standard(references, Threshold(), (float(np.median(values)), float(values.max())))


def fixed(score: float) -> Threshold:
    return Threshold(math.log(score) - math.log1p(-score))


def told(threshold: Threshold, flags) -> str:
    """The threshold in words."""
    return f"score above {flags.threshold}, as asked for" if flags.threshold is not None else str(threshold)


def remarks(flags, standard: Standard) -> Iterator[str]:
    """What will not do what it seems to."""
    if not standard.references:
        yield "no references: hardly a defect is found without them; give good parts with --reference"
    elif flags.ratio != 1 and len(standard.references) == 1:
        yield f"--ratio={flags.ratio:g} has no effect with one reference: the first one keeps all its tokens"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def inspected(inspector, paths: Sequence[Path], standard: Standard, flags) -> Iterator[dict]:
    """The record of each part, once its pictures are written. So many photographs as are inspected at once are in
    memory, and as many more that are being read."""
    from iadgpt_jax.infer.inspector import QUERIES_AT_ONCE

    def read(start: int) -> list[np.ndarray | InputError]:
        return [photograph(path, inspector.unit) for path in paths[start : start + QUERIES_AT_ONCE]]

    named = zip(paths, file_stems(paths), strict=True)
    for pictures in prefetch(read, range(0, len(paths), QUERIES_AT_ONCE), ahead=1):
        usable = [picture for picture in pictures if not isinstance(picture, InputError)]
        found = inspector.inspections(usable, standard.references, explain=not flags.no_explanation) if usable else ()
        results = iter(found)
        for picture in pictures:
            path, stem = next(named)
            if isinstance(picture, InputError):
                warn(printable(str(picture)))
                yield {"query": str(path), "error": str(picture)}
            else:
                yield record_of(path, flags.out / stem, picture, next(results), standard)


def photograph(path: Path, least: int) -> np.ndarray | InputError:
    """The photograph, or why there is none: one damaged file does not end a batch."""
    try:
        return as_photograph(path, least)
    except InputError as error:
        return error


def record_of(path: Path, stem: Path, picture: np.ndarray, result: Inspection, standard: Standard) -> dict:
    """What is written about a part, once its map and its overlay are."""
    defective = standard.threshold.rejects(result.margin)
    map_path, overlay_path = (stem.with_name(f"{stem.name}{kind}.png") for kind in DRAWN)
    draw(picture, result, defective, standard, map_path, overlay_path)
    return {
        "query": str(path),
        "defective": defective,
        "score": result.score,
        "margin": result.margin,
        "threshold": standard.threshold.score,
        "answer": result.answer,
        "explanation": result.explanation,
        "map": str(map_path),
        "overlay": str(overlay_path),
    }


def draw(
    picture: np.ndarray, result: Inspection, defective: bool, standard: Standard, map_path: Path, overlay_path: Path
) -> None:
    """Write both pictures of a part."""
    own = float(np.median(result.map)), float(result.map.max())
    low, high = map_scale(standard.calm, [result.map]) if standard.calm else own
    drawn = verdict_picture(
        picture, result.map, low, high, defective=defective, score=result.score, limit=standard.threshold.score,
        calm=standard.calm[1] if standard.calm else None,
    )  # fmt: skip
    with whole_file(overlay_path) as stream:
        Image.fromarray(drawn).save(stream, "PNG")
    ends = float(result.map.min()), float(result.map.max())
    save_map_png16(map_path, result.pixel_map, ends[0], max(ends[1], float(np.nextafter(np.float32(ends[0]), np.inf))))


def readable(record: dict, question: str, briefly: bool) -> str:
    if "error" in record:
        return f"{record['query']}: not inspected"
    verdict = "defective" if record["defective"] else "normal"
    line = f"{record['query']}: {verdict}, score {record['score']:.3f} (margin {record['margin']:+.2f})"
    if record["defective"] != (record["margin"] > 0):
        line += f", by the threshold {record['threshold']:.3f}: the answer alone is the other one"
    if briefly:
        return line
    lines = [line, f"  {question}", f'                  "{record["answer"]}"']
    if record["explanation"]:
        lines.append(f'  what is wrong?  "{record["explanation"]}"')
    return "\n".join([*lines, f"  where           {record['overlay']}, {record['map']}"])


def finish(flags, records: Sequence[dict], standard: Standard) -> None:
    """The page and the table of all parts, and how it ended."""
    from iadgpt_jax.evaluate.inspections_page import PAGE, TABLE, write_inspections

    failed = sum("error" in one for one in records)
    about = {
        "checkpoint": str(flags.checkpoint),
        "references": str(len(standard.references)),
        "defective": told(standard.threshold, flags),
    }
    write_inspections(flags.out, records, about, standard.threshold.margin)
    rejected = sum(one.get("defective", False) for one in records)
    say(f"{count(len(records) - failed, 'part')}, {rejected} defective; look at {flags.out / PAGE}; numbers: {TABLE}")
    if failed:
        warn(f"{count(failed, 'photograph')} of {len(records)} could not be inspected; results.jsonl says why")
        sys.exit(1)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    flags = parser().parse_args(arguments)
    flags.given = parser().given(arguments)
    return flags


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, buckets=("checkpoint",))
    add = made.add_argument
    add(
        "--checkpoint", type=Path, metavar="DIR",
        help="a training workdir, one step in its checkpoints folder, or a Hugging Face directory",
    )  # fmt: skip
    add(
        "--query", required=True, action="append", metavar="PATH",
        help="the photographs to inspect, all of one product: a file, a folder or a pattern",
    )  # fmt: skip
    add(
        "--reference", action="append", default=[], metavar="PATH",
        help="photographs of good parts; 1, 2 or 4 of them work best (without any, hardly a defect is found)",
    )  # fmt: skip
    add(
        "--shots", type=int, default=SHOTS, metavar="K",
        help="how many of them are references; the others choose the threshold (default: %(default)s)",
    )  # fmt: skip
    add("--good", action="append", default=[], metavar="PATH", help="more good parts, to choose the threshold with")
    add(
        "--good_share", type=float, metavar="S",
        help="choose the threshold so that this share of good parts stays below: each reference is inspected against "
        "the others (default: 0.95 where there are more good parts than references)",
    )  # fmt: skip
    add("--threshold", type=float, metavar="SCORE", help="parts that score above it are defective (default: 0.5)")
    add("--product", type=Path, metavar="PATH", help="a product's folder or exported file: references and threshold")
    add(
        "--save_product", type=Path, metavar="PATH",
        help="keep references and threshold as a product: a folder, or one file NAME.zip",
    )  # fmt: skip
    add(
        "--out", type=Path, default=Path("predictions"), metavar="DIR",
        help="folder for pictures and tables (default: %(default)s)",
    )  # fmt: skip
    add("--json", action="store_true", help="print a JSON object a line, as results.jsonl has it, and nothing else")
    add("--no_explanation", action="store_true", help="verdicts and maps alone, which is faster")
    add(
        "--ratio", type=float, default=1.0, metavar="R",
        help="share of the tokens kept of every reference but the first, 0 < R <= 1 (default: %(default)s)",
    )  # fmt: skip
    add(
        "--prompt", default="", metavar="NAME",
        help=f"detection prompt: {', '.join(PROMPTS)} (default: that of training)",
    )  # fmt: skip
    add(
        "--side", type=int, metavar="N",
        help="pixels of the square that images are squashed to, a multiple of 28 (default: that of training)",
    )  # fmt: skip
    add(
        "--tiles", default="1x1", metavar="RxC",
        help="inspect every photograph in overlapping tiles, for defects too small to see in the whole: 2x2, 3x3 "
        "(default: %(default)s, whole)",
    )  # fmt: skip
    return made


if __name__ == "__main__":
    main()
