"""Compare the speed of this package with transformers + torch: same machine, weights and work, alternating runs.

    python tools/benchmark.py NAME [--size=bench|tiny|3b|7b] [--repeats=N] [--out=FILE]

NAME: train, train_shared, score, generate, loader, import, or all (of these). Before anything is timed, the outputs of
both sides are compared. The ratio says how many times faster ours is. Runs on a CPU, or on a GPU that both JAX and
torch can use.

Three more names measure this package alone. sharing: a training step with shared references, against the same queries
as separate prompts. caching: scoring with cached references, against references in every prompt. curves: how a training
step's time and memory grow; draws a picture next to --out. See docs/benchmarks.md.
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
WITHIN = ("sharing", "caching")  # these compare two ways of ours
SIZES = ("tiny", "bench", "3b", "7b")
# Huge pages, and freed memory stays with the process: a step allocates gigabytes, which the kernel would otherwise zero
# page by page every time.
MALLOC = "glibc.malloc." + ":glibc.malloc.".join(("hugetlb=1", "arena_max=1", "mmap_max=0", f"trim_threshold={2**34}"))


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    if flags.out and not flags.out.parent.is_dir():
        raise InputError(f"--out={flags.out}: there is no folder {flags.out.parent}; make it first")
    say(f"measuring {flags.name} at size {flags.size}, {flags.repeats} alternating runs each")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        if flags.name == "curves":
            result = measure_curves(flags, Path(directory))
        else:
            result = compare(flags, Path(directory))
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
        say(f"wrote {flags.out}")


def compare(flags: argparse.Namespace, directory: Path) -> dict:
    """The record of one measurement. For "all": a list of records under "results", with what they share above it."""
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
    """The function that makes the measurement of this name. Imports only what that measurement needs."""
    if name in ("train", "train_shared"):
        from tools.benchmarks import train

        return getattr(train, name)
    if name == "score":
        from tools.benchmarks.score import score as function
    elif name == "generate":
        from tools.benchmarks.generate import generate as function
    elif name == "loader":
        from tools.benchmarks.loader import loader as function
    elif name == "sharing":
        from tools.benchmarks.sharing import sharing as function
    elif name == "caching":
        from tools.benchmarks.caching import caching as function
    else:
        from tools.benchmarks.weights import weights as function
    return function


def measure_curves(flags: argparse.Namespace, directory: Path) -> dict:
    """The points of `curves`, and their picture next to --out."""
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
        raise InputError(f"--repeats={flags.repeats}: choose at least 1")
    return flags


def set_environment() -> None:
    """Set environment variables that libraries read when they start, the same for both sides: GPU memory allocated as
    needed, so that two libraries fit one GPU, and malloc's settings, for which the process has to restart itself."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"GLIBC_TUNABLES": MALLOC})


if __name__ == "__main__":
    set_environment()
    main()
