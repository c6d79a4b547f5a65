"""Watch a process's memory while it trains, evaluates or inspects for long: does it grow?

    python tools/leaks.py train [--minutes=20]
    python tools/leaks.py evaluate --checkpoint=DIR [--times=2000]
    python tools/leaks.py inspect --checkpoint=DIR [--times=2000]

train: a tiny model, saved every 50 steps. evaluate: at least --times queries of procedural products, at one shot, by
launch/evaluate.py. inspect: --times calls of Inspector.inspect, of photographs in files, with another set of references
every tenth call. Prints the memory that the process holds, without files it has mapped, over time, and the slope over
the second half, when everything is compiled and caches are full. --out=FILE writes all samples as JSON.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from absl import logging

from iadgpt_jax.convert.memory import anonymous_bytes
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.whole_file import write_json

EVERY = 0.5  # seconds between two samples
SHOWN = 10  # rows of the table
MB = 1e6


class Memory:
    """Samples of this process's memory while a `with` block runs; `done` counts what the block has finished."""

    def __enter__(self) -> Memory:
        self.samples: list[tuple[float, int, int]] = []  # seconds, done, bytes
        self.done, self._start, self._over = 0, time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            self.samples.append((time.monotonic() - self._start, self.done, anonymous_bytes()))


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    logging.set_verbosity(logging.ERROR)  # Orbax warns of things that are intended here
    with TemporaryDirectory(prefix="leaks-") as folder, Memory() as memory:
        flags.work(flags, Path(folder), memory)
    if len(memory.samples) < 2 * SHOWN:
        raise InputError(f"only {len(memory.samples)} samples of memory in so short a time: ask for more")
    if flags.out:
        write_json(flags.out, {"work": flags.name, "samples": memory.samples})
    print(report(memory.samples, flags.unit))


def report(samples: Sequence[tuple[float, int, int]], unit: str) -> str:
    """A table in Markdown, and the slope over the second half of the samples."""
    seconds, done, held = np.array(samples, float).T
    lines = [f"| seconds | {unit} | MB |", "|---|---|---|"]
    for row in np.linspace(0, len(samples) - 1, SHOWN).astype(int):
        lines.append(f"| {seconds[row]:.0f} | {done[row]:.0f} | {held[row] / MB:.0f} |")
    half = slice(len(samples) // 2, None)
    slope = np.polyfit(seconds[half], held[half] / MB, 1)[0]
    rise = slope * (seconds[-1] - seconds[half][0])
    work = done[-1] - done[half][0]
    mean = held[half].mean() / MB
    lines += [
        "",
        f"second half: {mean:.0f} MB, {work:.0f} {unit}; the straight line through the samples rises by {rise:+.1f} MB "
        f"({rise / mean:+.2%}), {3600 * slope:+.1f} MB an hour",
    ]
    return "\n".join(lines)


def train(flags, folder: Path, memory: Memory) -> None:
    """Until the minutes are over, then as a preempted job ends."""
    import launch.train
    from launch.configuration import read_config
    from tools.reliability.trainings import OVERRIDES

    settings = OVERRIDES | {"steps": 10**6, "log_every": 10, "checkpoint_every": 50}
    config = read_config("configs/stage3.py:tiny", [f"--config.{key}={value}" for key, value in settings.items()])
    counted(launch.train.Guard, "step", memory)
    timer = threading.Timer(60 * flags.minutes, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    with contextlib.suppress(SystemExit):  # of the signal
        launch.train.train(config, str(folder / "run"))


def evaluate(flags, folder: Path, memory: Memory) -> None:
    """As the command does it, over as many draws as it takes."""
    import launch.evaluate
    from iadgpt_jax.data.sources import HELD_OUT
    from iadgpt_jax.infer.scorer import Scorer

    queries = HELD_OUT["categories"] * (HELD_OUT["normal"] - 4 + HELD_OUT["defective"])
    draws = -(-flags.times // queries)
    counted(Scorer, "score", memory)
    with contextlib.redirect_stdout(io.StringIO()):
        launch.evaluate.main([f"--checkpoint={flags.checkpoint}", "--dataset=procedural:held_out", "--shots=1",
                              f"--seeds={draws}", f"--out={folder}", "--allow_trained"])  # fmt: skip


def inspect(flags, folder: Path, memory: Memory) -> None:
    """Inspector.inspect, call after call."""
    from iadgpt_jax import Inspector

    inspector = Inspector.load(flags.checkpoint)
    photographs = list(drawn(folder))
    for call in range(flags.times):
        query = photographs[call % len(photographs)]
        references = [photographs[(call // 10 + shot) % len(photographs)] for shot in range(1 + call // 10 % 2)]
        inspector.inspect(query, references, explain=call % 20 == 0)
        memory.done = call + 1


def drawn(folder: Path, count: int = 100) -> Iterator[Path]:
    """Files of random pixels, of several sizes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        size = rng.integers(60, 240, 2)
        path = folder / f"{number:03d}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        yield path


def counted(kind: type, name: str, memory: Memory) -> None:
    """Let every call of a class's method count as done."""
    method: Callable = getattr(kind, name)

    def call(*given, **named):
        memory.done += 1
        return method(*given, **named)

    setattr(kind, name, call)


WORK = {"train": (train, "steps"), "evaluate": (evaluate, "batches of queries"), "inspect": (inspect, "calls")}


def parse(arguments: Sequence[str] | None):
    parser = Parser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2])
    parser.add_argument("name", choices=WORK, metavar="WORK", help=", ".join(WORK))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training")
    parser.add_argument("--times", type=int, default=2000, help="queries or calls")
    parser.add_argument("--checkpoint", type=Path, help="of evaluate and inspect")
    parser.add_argument("--out", type=Path, help="write all samples as JSON")
    flags = parser.parse_args(arguments)
    if flags.name != "train" and flags.checkpoint is None:
        raise InputError(f"{flags.name} needs --checkpoint=DIR")
    flags.work, flags.unit = WORK[flags.name]
    return flags


if __name__ == "__main__":
    main()
