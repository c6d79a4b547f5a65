"""What preparing a large dataset costs, whether Apache Beam writes the same bytes, and whether kills change them.

    python tools/measure_preparation.py --records=100000 --out=DIR            the tree, prepared, opened, read at random
    python tools/measure_preparation.py --records=100000 --out=DIR --beam     and prepared by Beam's local processes
    python tools/measure_preparation.py --records=3000 --out=DIR --kills=24   and killed (kill -9) at random moments

Draws a tree of tiny images in the layout of MVTec AD (100 categories, a quarter of the images defective with a mask),
and runs `tools/prepare_data.py` on it, each time as a process of its own. What lies in DIR already is used again. A
line of JSON at the end holds all that was printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.progress import progress

PREPARE = Path(__file__).resolve().parent / "prepare_data.py"
CATEGORIES, SIDE = 100, 16
READS = 500
# Run in a fresh process, so that what it needs is not hidden by what this one has already.
OPEN = """
import json, resource, sys, time
start = time.monotonic()
from iadgpt_jax.data.sources.prepared import PreparedSource
imported = time.monotonic()
source = PreparedSource(sys.argv[1])
opened = time.monotonic()
import random
order = random.Random(0).choices(range(len(source)), k=int(sys.argv[2]))
source[order[0]].image
first = time.monotonic()
for index in order[1:]:
    source[index].image
print(json.dumps({
    "records": len(source), "open_seconds": opened - imported, "first_read_seconds": first - opened,
    "reads_per_second": (len(order) - 1) / (time.monotonic() - first),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    if args.records < 4 * CATEGORIES:
        raise InputError(f"--records={args.records}: at least {4 * CATEGORIES}")
    tree, whole = args.out / "tree", args.out / "prepared"
    draw_tree(tree, args.records)
    found = {"records": args.records}
    if not whole.exists():
        found |= told("prepared", timed(command(tree, whole, args.processes)))
    opened = subprocess.run([sys.executable, "-c", OPEN, whole, str(READS)], check=True, capture_output=True, text=True)
    found |= told("opened", json.loads(opened.stdout))
    if args.beam:
        other = fresh(args.out / "prepared_by_beam")
        found |= told("Beam", timed([*command(tree, other, args.processes), "--runner=beam"]))
        found |= told("Beam", {"same_bytes": same(whole, other)})
    if args.kills:
        other = fresh(args.out / "prepared_killed")
        longest = found.get("prepared_seconds", 8.0)
        found |= told("killed", killed(command(tree, other, args.processes), other, args.kills, longest, args.seed))
        found |= told("killed", {"same_bytes": same(whole, other)})
    print(json.dumps(found))


def draw_tree(tree: Path, records: int) -> None:
    """A marker file says that the tree is whole."""
    marker = tree.with_name(f"{tree.name}.{records}")
    if marker.exists():
        return
    shutil.rmtree(tree, ignore_errors=True)
    rng = np.random.default_rng(0)
    for index in progress(range(records), records, "drawing", "images"):
        name, number = f"part_{index % CATEGORIES:02d}", index // CATEGORIES
        folder = ("train/good", "train/good", "test/good", "test/scratch")[number % 4]
        path = tree / name / folder / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
        if folder == "test/scratch":
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[4:8, 4:8] = 255
            path = tree / name / "ground_truth/scratch" / f"{number:05d}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    marker.touch()


def command(tree: Path, out: Path, processes: int) -> list[str]:
    # As `folder`: the published counts of MVTec AD are not those of this tree.
    return [sys.executable, str(PREPARE), "--dataset=folder", f"--source={tree}", f"--out={out}",
            f"--processes={processes}"]  # fmt: skip


def timed(words: Sequence[str]) -> dict[str, float]:
    """Clock and processor seconds of a command and its children, and the most memory that one process had."""
    start, before = time.monotonic(), os.times()
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    peak = 0
    while running.poll() is None:
        peak = max(peak, *(resident(pid) for pid in family(running.pid)))
        time.sleep(0.2)
    if running.returncode:
        raise InputError(f"{' '.join(words)} ended with status {running.returncode}; its message is above")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.monotonic() - start, "cpu_seconds": used, "peak_mb_a_process": peak / 2**20}


def killed(words: Sequence[str], out: Path, kills: int, longest: float, seed: int) -> dict[str, float]:
    """Kill the command's whole group at random moments of its first `longest` seconds until it was killed so often,
    then let it end."""
    rng, done, again = random.Random(seed), 0, 0
    while done < kills:
        running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            running.wait(rng.uniform(0.5, longest))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, 9)
            running.wait()
            done += 1
            print(f"killed {done} of {kills}", file=sys.stderr, flush=True)
            continue
        if running.returncode:
            raise InputError(f"{' '.join(words)} ended with status {running.returncode}; its message is above")
        again += 1  # finished before it was killed: begin anew
        shutil.rmtree(out)
    if not out.exists() or out.with_name(f".{out.name}.unfinished").exists():
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {"kills": done, "finished_meanwhile": again}


def family(pid: int) -> list[int]:
    """A process and its descendants; Linux alone tells them here."""
    found = [pid]
    for one in found:
        try:
            text = Path(f"/proc/{one}/task/{one}/children").read_text()
        except OSError:  # it has ended
            continue
        found += map(int, text.split())
    return found


def resident(pid: int) -> int:
    """Bytes; 0 where the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def same(one: Path, other: Path) -> bool:
    names = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    if names != {path.relative_to(other) for path in other.rglob("*") if path.is_file()}:
        return False
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def fresh(folder: Path) -> Path:
    for path in (folder, folder.with_name(f".{folder.name}.unfinished")):
        shutil.rmtree(path, ignore_errors=True)
    return folder


def told(what: str, values: dict) -> dict:
    shown = (f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items())
    print(f"{what}: {', '.join(shown)}", flush=True)
    return {f"{what.lower()}_{key}": value for key, value in values.items()}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--records", type=int, default=100_000)
    add("--out", required=True, type=Path, metavar="DIR")
    add("--processes", type=int, default=2, metavar="N", help="that write shards (default: 2)")
    add("--beam", action="store_true", help="prepare on Apache Beam, too, and compare")
    add("--kills", type=int, default=0, metavar="N", help="prepare again, killed so often, and compare")
    add("--seed", type=int, default=0, help="of the moments")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
