"""A training so small that a start costs seconds, in one process or in two; and whether two of them ended alike."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from iadgpt_jax.checkpoint.files import STEPS, finished_steps
from iadgpt_jax.checkpoint.workdir import DATA, TRAINING
from iadgpt_jax.convert.stored import PARAMS
from tools.reliability.forks import ROOT, Forks, forks

# As few parameters as have every kind: both towers, fusion gates, maps; both moments of AdamW.
OVERRIDES = {
    "source_categories": 12, "rows": 2, "instances": 3, "log_every": 1, "checkpoint_every": 2, "keep": 2,
    "optimizer.kind": "adamw", "optimizer.warmup": 4,
    "model.vision.depth": 4, "model.vision.full_blocks": "(0,1,2,3)", "model.vision.width": 32,
    "model.vision.mlp": 48, "model.vision.out": 32,
    "model.language.width": 32, "model.language.mlp": 48, "model.language.mrope_section": "(2,1,1)",
}  # fmt: skip
# What a training imports when it runs.
IMPORTED = ("clu.asynclib", "tensorboard.summary.writer.record_writer", "orbax.checkpoint", "grain")
CLOCKED = ("per_second", "data_wait_share", "mfu", "_gib")  # what a log line says of time and memory
PATIENCE = 1800.0  # seconds in which a training that was struck has ended
LOOK = 0.004  # seconds between two looks at its notes


class Training:
    """One training after the other: RUN is their number. Each is started as often as it takes."""

    def __init__(self, processes: int, steps: int, out: Path, workdirs: str):
        self.processes, self.steps, self.out, self.workdirs = processes, steps, out, workdirs
        self.said, self.notes = out / f"said_by_{processes}.txt", out / f"notes_of_{processes}.txt"
        self.cache = out / "compiled"

    def workdir(self, run: int | str) -> str:
        return f"{self.workdirs}/{self.processes}_process_run_{run}"

    def words(self, run: int | str) -> list[str]:
        """The command of a life: tools/reliability/life.py's."""
        settings = OVERRIDES | {"steps": self.steps, "mesh.data": self.processes}
        overrides = [f"--config.{key}={value}" for key, value in settings.items()]
        return [str(self.notes), "--config=configs/stage3.py:tiny", f"--workdir={self.workdir(run)}", *overrides]

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(self.cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0",
        }  # fmt: skip

    def step(self, run: int | str) -> int:
        """The newest whole checkpoint of a run; 0: none."""
        return (finished_steps(self.workdir(run)) or [0])[-1]

    def noted(self, word: str) -> int:
        """How often the life has said it: "step" or "save"."""
        try:
            return self.notes.read_text().count(word)
        except FileNotFoundError:
            return 0


class Alone(Training):
    """In one process, a fork of one that has imported everything."""

    def __init__(self, steps: int, out: Path, workdirs: str):
        super().__init__(1, steps, out, workdirs)
        self._forks: Forks | None = None

    @contextlib.contextmanager
    def lives(self) -> Iterator[Alone]:
        with forks("tools.reliability.life:main", IMPORTED, self.environment()) as self._forks:
            yield self

    def start(self, run: int | str) -> None:
        self.notes.unlink(missing_ok=True)
        self._forks.start(self.words(run), self.said)

    def running(self) -> bool:
        return self._forks.running()

    def strike(self, number: int, rng: Random) -> str:
        """Send the signal; says whom it met."""
        self._forks.kill(number)
        return "the process"

    def status(self) -> int:
        """Exit status of a life that ends by now."""
        if not self._forks.wait(PATIENCE):
            raise TimeoutError(f"a training does not end after {PATIENCE:.0f} s; {self.said} says how far it came")
        return self._forks.status()


class Pair(Training):
    """In two processes, which launch/local.py starts, as a person would."""

    def __init__(self, steps: int, out: Path, workdirs: str):
        super().__init__(2, steps, out, workdirs)
        self._launcher: subprocess.Popen | None = None

    @contextlib.contextmanager
    def lives(self) -> Iterator[Pair]:
        yield self

    def start(self, run: int | str) -> None:
        self.notes.unlink(missing_ok=True)
        command = [sys.executable, "launch/local.py", "--processes=2", "--devices=1", "--", "tools/reliability/life.py"]
        with self.said.open("ab") as said:
            self._launcher = subprocess.Popen(
                [*command, *self.words(run)], cwd=ROOT, env=self.environment(), stdout=said, stderr=said
            )

    def running(self) -> bool:
        return self._launcher.poll() is None

    def strike(self, number: int, rng: Random) -> str:
        """SIGTERM goes to the launcher, which passes it on. SIGKILL meets one process, or all of them at once and the
        launcher, as if the machine were gone."""
        pid = self._launcher.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        if number == signal.SIGTERM or not children:
            self._launcher.send_signal(number)
            return "the launcher"
        everyone = rng.random() < 0.5
        for victim in [pid, *children] if everyone else [rng.choice(children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, number)
        return "all at once" if everyone else "one of two"

    def status(self) -> int:
        try:
            return self._launcher.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"two processes do not end after {PATIENCE:.0f} s; see {self.said}") from error


def wait_for(training: Training, word: str, times: int) -> bool:
    """Wait until a life has said the word so often; whether it has, before it ended."""
    while training.noted(word) < times:
        if not training.running():
            return False
        time.sleep(LOOK)
    return True


def differences(ours: str, theirs: str) -> list[str]:
    """What of two workdirs' newest steps and logs is not the same, to the last bit. Empty: nothing."""
    step, other = finished_steps(ours)[-1:], finished_steps(theirs)[-1:]
    if step != other or not step:
        return [f"newest step {step} and {other}"]
    left, right = state_of(ours, step[0]), state_of(theirs, step[0])
    named = [name for name in left.keys() | right.keys() if not _same(left.get(name), right.get(name))]
    if logged(ours) != logged(theirs):
        named.append("metrics.jsonl")
    return sorted(named)


def state_of(workdir: str, step: int) -> dict[str, np.ndarray]:
    """Every leaf of a step, by its path: parameters, moments, counters, and where the data goes on."""
    folder = epath.Path(workdir).absolute() / STEPS / str(step)
    leaves = {}
    for item in (PARAMS, TRAINING):
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            shapes = reader.metadata(folder / item).item_metadata.tree
            plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            tree = reader.restore(folder / item, args=ocp.args.PyTreeRestore(shapes, restore_args=plain))
        for path, leaf in jax.tree.leaves_with_path(tree):
            leaves[item + jax.tree_util.keystr(path)] = np.asarray(leaf)
    data = json.loads((folder / DATA / "metadata").read_text())
    return leaves | {f"{DATA}/{name}": np.asarray(value) for name, value in data.items()}


def logged(workdir: str) -> list[dict]:
    """The lines of a run's log without what its clock says."""
    lines = (epath.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.endswith(CLOCKED)} for line in lines]


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return one.tobytes() == other.tobytes()
