"""Seconds and memory that the metrics of an evaluation take, from random margins and maps: no model, no photographs.

    python tools/measure_metrics.py --queries=5000 --side=448 --out=workdir/random

Writes an evaluation directory with one category, one draw and one shot count, of which a third of the queries are
defective with a mask of a few per cent, then computes its metrics as `launch/evaluate.py --from=DIR` does. Printed are
the seconds of both, and the process's peak memory before the metrics and after them.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.evaluate.measure import Options
from iadgpt_jax.evaluate.raw import Queries, RawFolder, Scores, file_stem, pack_masks
from iadgpt_jax.evaluate.results import compute_metrics, write_metrics

CATEGORY, TOKEN = "random", 28  # pixels along a token's side


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    if args.queries < 2 or args.side < TOKEN:
        raise InputError(f"--queries={args.queries} --side={args.side}: at least 2 and {TOKEN}")
    raw = RawFolder(args.out)
    write_random(raw, args.queries, args.side, args.seed)
    before, started, used = peak_mb(), time.monotonic(), time.process_time()
    results = compute_metrics(raw, Options(args.image_score))
    seconds, used = time.monotonic() - started, time.process_time() - used
    write_metrics(args.out, results)
    print(json.dumps(results["shots"]["1"]["per_category"][CATEGORY], indent=2))
    print(
        f"{args.queries} queries of {args.side} pixels: {seconds:.0f} s ({used:.0f} s of CPU), peak memory "
        f"{before:.0f} MB before, {peak_mb():.0f} MB after"
    )


def write_random(raw: RawFolder, count: int, side: int, seed: int) -> None:
    """Maps that know something about masks; the masks are rectangles."""
    rng = np.random.default_rng(seed)
    decides = {"shots": [1], "seed": seed, "references": "own", "ratio": 1.0, "side": side, "digest": "random"}
    told = {
        "dataset": "random", "dataset_name": "random", "checkpoint": "random", "draws": 1,
        "categories": {CATEGORY: file_stem(CATEGORY)}, "without_queries": [], "trained_on": {},
    }  # fmt: skip
    raw.begin(decides | {"reference_list": None, "content": f"{count} queries"}, told)
    labels = np.arange(count) % 3 == 0
    cells = side // TOKEN
    maps = rng.random((1, count, cells, cells), dtype=np.float32)
    packed = np.zeros((count, -(-side * side // 8)), np.uint8)
    for index in np.flatnonzero(labels):
        mask = np.zeros((side, side), np.uint8)
        for y, x in rng.integers(0, side * 3 // 4, (2, 2)):
            mask[y : y + side // 6, x : x + side // 8] = 1
            maps[0, index, y // TOKEN : (y + side // 6) // TOKEN, x // TOKEN : (x + side // 8) // TOKEN] += 0.5
        packed[index] = pack_masks([mask], (side, side))[0]
    keys, masked = np.array([f"{index:05d}" for index in range(count)]), np.ones(count, bool)
    raw.write_queries(CATEGORY, Queries(keys, labels, masked, packed, (side, side)))
    margins = (rng.normal(size=(1, count)) + labels).astype(np.float32)
    raw.write_scores(0, CATEGORY, Scores((1,), margins, maps))


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--image_score", default="answer", choices=("answer", "map", "both"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
