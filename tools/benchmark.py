"""Measure this package beside transformers + torch: same machine, same weights, same work, alternating runs.

    python tools/benchmark.py NAME [--size=bench|tiny|3b|7b] [--repeats=N] [--out=FILE]

NAME: train, train_shared, score, generate, loader, import, or all (of these). First it is shown that both sides compute
the same. A ratio says how many times faster ours is. Runs on a CPU, and on a GPU where JAX and torch both see one.

Three more measure this package alone: sharing (a training step with shared references against the same queries as
prompts of their own) and caching (scoring with the references kept against references in every prompt) are ours
against ours; curves is how a training step's time and memory grow (it draws a picture beside --out).
docs/benchmarks.md tells more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.errors import InputError, Parser, clear_errors

NAMES = ("train", "train_shared", "score", "generate", "loader", "import")
WITHIN = ("sharing", "caching")  # both sides are ours
SIZES = ("tiny", "bench", "3b", "7b")
# Huge pages, and what is freed is kept: a step takes gigabytes anew, which the system would empty page by page.
MALLOC = "glibc.malloc." + ":glibc.malloc.".join(("hugetlb=1", "arena_max=1", "mmap_max=0", f"trim_threshold={2**34}"))


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    if flags.out and not flags.out.parent.is_dir():
        raise InputError(f"--out={flags.out}: there is no folder {flags.out.parent}; make it first")
    say(f"measuring {flags.name} at size {flags.size}, {flags.repeats} alternating runs each")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        if flags.name == "curves":
            result = grow(flags, Path(directory))
        else:
            result = compare(flags, Path(directory))
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
        say(f"wrote {flags.out}")


def compare(flags: argparse.Namespace, directory: Path) -> dict:
    """The record of one measurement, or of all: then the first level holds what they share."""
    from tools.benchmarks.measure import machine, measure, table, versions
    from tools.benchmarks.pair import Pair

    pair, records = Pair.of(flags.size, directory), []
    for name in NAMES if flags.name == "all" else (flags.name,):
        start = time.monotonic()
        records.append(measure(prepare(name)(pair), flags.repeats))
        agreement = records[-1]["agreement"].items()
        agreed = ", ".join(f"{what} differ by at most {value['difference']:.1e}" for what, value in agreement)
        say(f"{name}: {records[-1]['work']}; {agreed} ({time.monotonic() - start:.0f} s)")
    print(table(records))
    if flags.name != "all":
        return records[0]
    return {"name": "all", "size": flags.size, "results": records, "machine": machine(), "versions": versions()}


def prepare(name: str):
    """What makes the measurement of a name; only its own libraries are imported."""
    if name in ("train", "train_shared"):
        from tools.benchmarks import train

        return getattr(train, name)
    if name == "score":
        from tools.benchmarks.score import score as of
    elif name == "generate":
        from tools.benchmarks.generate import generate as of
    elif name == "loader":
        from tools.benchmarks.loader import loader as of
    elif name == "sharing":
        from tools.benchmarks.sharing import sharing as of
    elif name == "caching":
        from tools.benchmarks.caching import caching as of
    else:
        from tools.benchmarks.weights import weights as of
    return of


def grow(flags: argparse.Namespace, directory: Path) -> dict:
    from tools.benchmarks.curves import curves, draw
    from tools.benchmarks.pair import Pair

    result = curves(Pair.of(flags.size, directory), flags.repeats, say)
    if flags.out:
        picture = flags.out.with_suffix(".png")
        draw(result, picture)
        say(f"drew {picture}")
    return result


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", choices=(*NAMES, "all", *WITHIN, "curves"))
    parser.add_argument("--size", choices=SIZES, default="bench")
    parser.add_argument("--repeats", type=int, default=7, metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the result as JSON")
    flags = parser.parse_args(arguments)
    if flags.repeats < 1:
        raise InputError(f"--repeats={flags.repeats}: measure at least once")
    return flags


def settle() -> None:
    """What must stand in the environment before libraries start, the same for both sides: malloc's settings, which
    a process can only get by starting anew, and GPU memory taken as needed, so that two libraries fit one GPU."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"GLIBC_TUNABLES": MALLOC})


if __name__ == "__main__":
    settle()
    main()
