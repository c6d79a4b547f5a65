"""Damage a checkpoint, an imported checkpoint and a prepared dataset, and see what becomes of it.

    python tools/damage.py [--flips=200] [--seed=0] [--out=FILE]

Of each, every file is truncated and deleted, and one bit is flipped in --flips places, one damage at a time. What is
then opened is read as training, inspection or a loader reads it. It has to be refused in one line, or the step before
has to be used instead, or everything has to be what it was: no damage may be loaded. Prints the table of
docs/reliability.md. Exit status 1: something was loaded that differs, or ended otherwise than in an InputError.
"""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from absl import logging
from PIL import Image

from iadgpt_jax.checkpoint.files import STEPS
from iadgpt_jax.checkpoint.whole import newest_whole
from iadgpt_jax.checkpoint.workdir import Checkpoints, read_model_files, write_model_files
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.models.registry import init_params, preset
from iadgpt_jax.progress import progress
from iadgpt_jax.whole_file import write_json
from tools import convert_hf, random_checkpoint
from tools.reliability.damaging import damaged, damages, files_of

KINDS = ("truncated", "deleted", "bit flipped")
REFUSED, BEFORE, UNHARMED = "refused in one line", "the step before is used", "reads as it was"
FOR_PEOPLE = ("report.json", "sheet.jpg")  # of a prepared dataset, which nothing reads

Look = Callable[[], str]  # reads, and says what came of it; AssertionError: something else than the truth was read


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2])
    parser.add_argument("--flips", type=int, default=200, help="places of each where one bit is flipped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the counts as JSON, too")
    flags = parser.parse_args(arguments)
    logging.set_verbosity(logging.ERROR)  # Orbax warns of things that are intended here
    found: dict[str, dict] = {}
    for what, made in MADE.items():
        with TemporaryDirectory(prefix="damage-") as folder:
            files, look = made(Path(folder))
            found[what] = outcomes(what, files, look, flags.flips, flags.seed)
    if flags.out:
        write_json(flags.out, {"seed": flags.seed, "found": found})
    print(table(found))
    return 1 if any(one["failures"] for one in found.values()) else 0


def outcomes(what: str, files: Sequence[Path], look: Look, flips: int, seed: int) -> dict:
    """Counts of what came of each kind of damage, and the failures."""
    assert look() == UNHARMED
    counts, failures = Counter(), []
    every = list(damages(files, flips, Random(seed)))
    for damage in progress(every, len(every), f"damaging a {what}", "times"):
        with damaged(damage), contextlib.redirect_stderr(io.StringIO()):
            try:
                came = look()
            except InputError as error:
                came = REFUSED
                if "\n" in str(error):
                    failures.append(f"{damage.path.name} {damage.kind}: {error}")
            except Exception:
                came = "failed"
                failures.append(f"{damage.path.name} {damage.kind}: {traceback.format_exc(limit=-4)}")
        counts[f"{damage.kind}: {came}"] += 1
    for failure in failures:
        print(failure, file=sys.stderr)
    return {"counts": counts, "failures": failures}


def checkpoint(folder: Path) -> tuple[list[Path], Look]:
    """The newer of two steps of a training, and the files that are the model's."""
    config = preset("tiny")
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    training = {"step": np.int32(2), "moments": params}
    write_model_files(folder, config, tiny_tokenizer(), {"stage": 1})
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, params, training, step)

    def state(step: int):
        with Checkpoints(folder, read_only=True) as checkpoints:
            return checkpoints.restore(*jax.eval_shape(lambda: (params, training)), step)

    older = folder / STEPS / "1"
    return [path for path in files_of(folder) if older not in path.parents], looking(folder, 2, state)


def imported(folder: Path) -> tuple[list[Path], Look]:
    """A Hugging Face directory as tools/convert_hf.py imports it: its only step, and the model's files."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        random_checkpoint.main(["--size=tiny", f"--out={folder / 'hf'}"])
        convert_hf.main(["import", f"--hf={folder / 'hf'}", f"--out={folder / 'run'}"])
    config = read_model_files(folder / "run")[0]
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))

    def state(step: int):
        with Checkpoints(folder / "run", read_only=True) as checkpoints:
            return checkpoints.restore_params(step, shapes)

    return files_of(folder / "run"), looking(folder / "run", 0, state)


def looking(workdir: Path, newest: int, state: Callable[[int], Any]) -> Look:
    """Reads the model's files and a whole step, and compares them with what they are now."""

    def read(step: int) -> tuple:
        config, tokenizer, info = read_model_files(workdir)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state(step))]
        return config, tokenizer.backend.to_str(), info, [(leaf.dtype, leaf.tobytes()) for leaf in leaves]

    truth = read(newest)

    def look() -> str:
        step = newest_whole(workdir)
        if step != newest:
            return BEFORE
        assert read(step) == truth
        return UNHARMED

    return look


def dataset(folder: Path) -> tuple[list[Path], Look]:
    """A prepared dataset with masks and captions: shards, index and descriptions."""
    rng = np.random.default_rng(0)
    for part in ("bolt", "nut"):
        for where in ("train/good", "test/good", "test/bent", "ground_truth/bent"):
            for number in range(2):
                path = folder / "tree" / part / where / f"{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels[..., 0] // 200 if "truth" in where else pixels).save(path)
    prepare(Request("folder", folder / "tree", folder / "prepared"), say=lambda line: None)

    def contents() -> list:
        source = PreparedSource(folder / "prepared")
        samples = [
            (one.key, one.image.tobytes(), one.mask is not None and one.mask.tobytes(), one.defective, one.captions)
            for one in source
        ]
        return [samples, list(source.records)]

    truth = contents()

    def look() -> str:
        assert contents() == truth
        return UNHARMED

    return [path for path in files_of(folder / "prepared") if path.name not in FOR_PEOPLE], look


MADE = {"checkpoint": checkpoint, "imported checkpoint": imported, "prepared dataset": dataset}


def table(found: dict[str, dict]) -> str:
    """In Markdown."""
    head = ("what", "damage", "times", REFUSED, BEFORE, UNHARMED, "failed")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for what, one in found.items():
        for kind in KINDS:
            cells = [one["counts"].get(f"{kind}: {came}", 0) for came in (REFUSED, BEFORE, UNHARMED, "failed")]
            lines.append("| " + " | ".join(map(str, (what, kind, sum(cells), *cells))) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
