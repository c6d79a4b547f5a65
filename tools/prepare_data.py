"""Turn a dataset as it was published, or a folder of photographs, into one that training and evaluation read at random.

    iadgpt prepare --dataset=mvtec_ad --source=DIR --out=DIR
    iadgpt prepare --dataset=folder --source=DIR --out=DIR

--dataset=folder reads the layout of MVTec-AD, or good parts beside others:

    DIR/<category>/train/good/*.png           good parts, to learn and to refer to
    DIR/<category>/test/good/*.png            good parts, to inspect
    DIR/<category>/test/<defect>/*.png        defective parts; the folder's name says what is wrong
    DIR/<category>/ground_truth/<defect>/*_mask.png     where: white, same size as the image; may be missing

    DIR/good/*.png and DIR/inspect/*.png      good parts, and parts of which nobody says whether they are good

png, jpg, bmp, tif and webp are read. good, Good, ok and OK all mean good. words.jsonl in DIR adds captions, kinds,
causes, remedies and viewpoints (docs/data.md). Images keep their size; --side squashes them for a smaller dataset.

Afterwards --out works wherever a command asks for a dataset. It holds TFDS's ArrayRecord files, report.json (counts
beside the published ones, and every file that was left out, with the reason) and sheet.jpg (a few pictures of each
category). Stopped, however, the same command goes on where it was, and ends with the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax import voice
from iadgpt_jax.data.images import MAX_PIXELS
from iadgpt_jax.data.sources.datasets import DATASETS
from iadgpt_jax.data.sources.prepare import SHEET_FILE, Request, Runner, prepare
from iadgpt_jax.errors import InputError, Parser, clear_errors, printable
from iadgpt_jax.progress import progress

LEAST_SIDE = 28  # one merged token
MOST_SIDE = int(MAX_PIXELS**0.5)


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    if flags.side < 0 or flags.side % LEAST_SIDE:
        raise InputError(
            f"--side={flags.side} is not a multiple of one merged token ({LEAST_SIDE} pixels), as models need it; "
            "choose 448, or 0 for none"
        )
    if flags.side > MOST_SIDE:
        raise InputError(f"--side={flags.side} is more than {MOST_SIDE}; choose 448, or 0 for none")
    if flags.processes < 1:
        raise InputError(f"--processes={flags.processes} is none; choose 1 or more")
    request = Request(flags.dataset, flags.source, flags.out, flags.side, flags.categories, flags.words)

    def tell(line: str) -> None:
        voice.say(printable(line)) if flags.json else print(printable(line), flush=True)

    runner = Runner(flags.processes, flags.runner == "beam", tuple(flags.beam_options.split()))
    dataset = DATASETS[flags.dataset]
    if dataset.page:
        tell(f"{flags.dataset}: {dataset.citation}; licence: {dataset.licence}; {dataset.page}")

    start = time.monotonic()
    report = prepare(request, runner, say=tell, watch=watch)
    for line in report.lines():
        tell(line)
    voice.warn_lines(map(printable, report.warnings()))
    size = sum(path.stat().st_size for path in flags.out.rglob("*") if path.is_file())
    tell(
        f"wrote {flags.out}: {report.values['records']} images, {size / 1e6:.1f} MB, {time.monotonic() - start:.1f} s; "
        f"look at {flags.out / SHEET_FILE}"
    )
    if flags.json:
        print(json.dumps(report.values, indent=2, ensure_ascii=False))


def watch(done: Iterator[str], total: int) -> Iterator[str]:
    """The shards as they are written, with a line of progress."""
    return progress(done, total, "preparing", "shards")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    return parser().parse_args(arguments)


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--dataset", required=True, choices=sorted(DATASETS), help="whose layout --source has")
    add("--source", required=True, type=Path, metavar="DIR", help="where the dataset was unpacked to")
    add("--out", required=True, type=Path, metavar="DIR", help="where the prepared one goes; must not exist")
    add("--side", type=int, default=0, metavar="PIXELS",
        help="squash images to this square; 0 keeps each size (default)")  # fmt: skip
    add("--categories", metavar="A,B", default=(), type=_names, help="only these (default: all)")
    add(
        "--words",
        type=Path,
        metavar="FILE",
        help="words of the images (default: words.jsonl in --source, if it is there)",
    )
    add("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="(default: one per processor)")
    add("--json", action="store_true", help="print report.json and nothing else")
    add("--runner", choices=("local", "beam"), default="local", help="beam: Apache Beam, for more than one machine")
    add("--beam_options", default="", metavar="'--runner=… …'",
        help="Beam's own (default: its local runner in --processes processes)")  # fmt: skip
    return made


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in text.split(",") if name))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    main()
