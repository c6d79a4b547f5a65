"""Make a reference list: which published training images are the references of every draw, by name.

    python tools/reference_lists.py --dataset=mvtec_ad --files=FILES.txt --out=iadgpt_jax/evaluate/reference_lists/mvtec_ad.json
    python tools/reference_lists.py --dataset=visa --files=split_csv/1cls.csv --out=iadgpt_jax/evaluate/reference_lists/visa.json

FILES is the published list of a dataset's files: VisA's split_csv/1cls.csv as amazon-science/spot-diff has it, or a text
in which every line names one file, <category>/train/good/<name> (`find`, or one JSON object a line; other lines do not
matter). References are a random order of a category's good training images, sorted by name; the same for everybody,
whatever numpy they have, because the list is checked in. The number of files must be the published one.
"""  # noqa: E501

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.data.sources.datasets import DATASETS
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.evaluate.protocol import shuffled

NAMES = {"mvtec_ad": "MVTec-AD", "visa": "VisA"}
GOOD = re.compile(r"([\w-]+)/train/good/[\w.-]+\.(?:png|jpg)", re.IGNORECASE)
SEED = 0


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    try:
        text = args.files.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read --files={args.files}: {error}") from error
    keys = training_keys(text)
    total, published = sum(map(len, keys.values())), DATASETS[args.dataset].counts["train"]
    if total != published:
        raise InputError(
            f"{args.files} names {total} good training images, {NAMES[args.dataset]} has {published}: give its "
            "complete list"
        )
    content = {
        "dataset": NAMES[args.dataset],
        "files": args.source or args.files.name,
        "published": {category: len(found) for category, found in keys.items()},
        "draws": make_draws(keys, args.draws, args.references),
    }
    aside = args.out.with_name(f".{args.out.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, indent=1) + "\n")
    aside.replace(args.out)
    print(f"wrote {args.out}: {args.draws} draws of {args.references} of {total} images, {len(keys)} categories")


def training_keys(text: str) -> dict[str, list[str]]:
    """Category to the sorted keys of its good training images, categories by name."""
    found: dict[str, set[str]] = {}
    if text.startswith("object,split,label,image"):
        for row in csv.DictReader(text.splitlines()):
            if (row["split"], row["label"]) == ("train", "normal"):
                found.setdefault(row["object"], set()).add(row["image"])
    else:
        for match in map(GOOD.search, text.splitlines()):
            if match:
                found.setdefault(match[1], set()).add(match[0])
    return {category: sorted(found[category]) for category in sorted(found)}


def make_draws(keys: dict[str, list[str]], draws: int, references: int) -> list[dict[str, list[str]]]:
    """Per draw: category to ordered keys."""
    return [
        {
            category: [found[place] for place in shuffled(len(found), SEED, draw, category)[:references]]
            for category, found in keys.items()
        }
        for draw in range(draws)
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, choices=sorted(NAMES))
    parser.add_argument("--files", required=True, type=Path, metavar="FILE", help="the published list of files")
    parser.add_argument("--source", default="", help="where that list was published, for the record")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--references", type=int, default=8, help="in every draw (default: %(default)s)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
