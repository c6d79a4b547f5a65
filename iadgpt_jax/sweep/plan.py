"""From a sweep to its jobs. A stage is known by the content of its whole configuration and by what it starts from, an
evaluation by its checkpoint and its flags; jobs of equal content are one, whichever settings need them.

    DIR/stages/<config>-<digest>/        a training workdir, with train.log and configuration.json
    DIR/evaluations/<digest>/            what launch/evaluate.py writes, with evaluate.log
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadgpt_jax.checkpoint.files import STEPS, finished_steps
from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.spec import Setting, Sweep

# Of a configuration: what changes no weight. A stage is the same stage with another value of these.
WITHOUT_EFFECT = (
    "init_from", "checkpoint_every", "checkpoint_minutes", "keep", "watchdog_minutes", "resume_anyway", "log_every",
    "log_parameters", "loader_threads", "loader_processes", "profile",
)  # fmt: skip

Configure = Callable[[str, Sequence[str]], Any]  # (config name, words --config.KEY=VALUE) -> a ConfigDict


@dataclass(frozen=True)
class Job:
    """One process to run. command: its words, without the interpreter. before: the key of the job it starts from.
    steps: of a stage, 0 of an evaluation. result: exists, whole, once the job has finished. needed_by: "setting seed 0"
    of every trial that needs it."""

    key: str
    kind: str  # the stage's config name, or "evaluate"
    command: tuple[str, ...]
    folder: Path
    result: Path
    before: str | None
    steps: int
    configuration: str
    needed_by: tuple[str, ...] = ()

    @property
    def training(self) -> bool:
        return self.steps > 0

    @property
    def finished(self) -> bool:
        return self.result.exists()

    def command_flag(self, name: str) -> str:
        """The value of --name=VALUE in the command; "" without it."""
        start = f"--{name}="
        return next((word.removeprefix(start) for word in self.command if word.startswith(start)), "")

    @property
    def log(self) -> Path:
        return self.folder / ("train.log" if self.training else "evaluate.log")


@dataclass(frozen=True)
class Trial:
    """One setting with one seed: the keys of its jobs in order, and of its evaluations by name."""

    setting: Setting
    seed: int
    jobs: tuple[str, ...]
    evaluations: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.setting.name} seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """jobs: by key, every one behind the one it starts from; depth: how many jobs lie before it."""

    sweep: Sweep
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    jobs: Mapping[str, Job]

    def depth(self, key: str) -> int:
        before = self.jobs[key].before
        return 0 if before is None else 1 + self.depth(before)

    def levels(self) -> list[list[Job]]:
        """Jobs that do not wait for each other, level after level; evaluations, which need only their checkpoint, stand
        as deep as it allows."""
        levels: dict[int, list[Job]] = {}
        for key, job in self.jobs.items():
            levels.setdefault(self.depth(key), []).append(job)
        return [levels[depth] for depth in sorted(levels)]


def make_plan(
    sweep: Sweep, workdir: Path, *, size: str, seeds: Sequence[int], configure: Configure, only: Sequence[str] = (),
    steps_scale: float = 1.0, overrides: Sequence[str] = (), datasets: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None, root: str = "", check: Callable[[Any], None] = lambda config: None,
) -> Plan:  # fmt: skip
    """The jobs of a sweep's settings, `only` those named, for every seed.

    size: what follows the colon of a configuration's name ("tiny", "7b@v5p:2x2x4"). overrides: words
    --config.KEY=VALUE for every stage; --config.init_from is where the first stage of each chain starts. datasets: in
    place of the evaluations' own, by name. flags: of every evaluation, over the sweep's; those of a setting stay. root:
    the project's folder with a slash behind it, "" where commands run in it. check: refuses a configuration that cannot
    run.
    Raises InputError, naming setting and stage, for a configuration that cannot be built or run.
    """
    starts = [word.partition("=")[2] for word in overrides if word.startswith("--config.init_from=")]
    overrides = [word for word in overrides if not word.startswith("--config.init_from=")]
    datasets = datasets or {}
    if unknown := sorted(datasets.keys() - sweep.evaluations.keys()):
        raise InputError(f"sweep {sweep.name!r} has no evaluation {', '.join(unknown)}: {', '.join(sweep.evaluations)}")
    jobs: dict[str, Job] = {}
    trials = []
    for seed in seeds:
        for setting in sweep.only(only):
            trial = f"{setting.name} seed {seed}"
            chain: list[str] = []
            before, start = None, (starts[-1] if starts else "")
            for stage in setting.stages:
                words = [f"--config.{key}={text(value)}" for key, value in stage.changes.items()]
                words = [*words, *overrides, f"--config.seed={seed}"]
                name = f"configs/{stage.config}.py:{size}"
                try:
                    words += scaled(configure(name, words), steps_scale)
                    config = configure(name, [*words, f"--config.init_from={start}"])
                    check(config)
                except InputError as error:
                    raise InputError(f"setting {setting.name!r}, {stage.config}: {error}") from error
                content = configuration(config)
                key = f"{stage.config}-{digest(content, before or identity(start))}"
                folder = workdir / "stages" / key
                if start:
                    words.append(f"--config.init_from={start}")
                command = (f"{root}launch/train.py", f"--config={root}{name}", f"--workdir={folder}", *words)
                result = folder / STEPS / str(config.steps)
                _add(jobs, Job(key, stage.config, command, folder, result, before, config.steps, content), trial)
                chain.append(key)
                before, start = key, str(result)
            evaluations = {}
            for name, evaluation in sweep.evaluations.items():
                dataset = datasets.get(name, evaluation.dataset)
                if dataset:
                    asked = {"dataset": dataset, **evaluation.flags, **(flags or {}), **setting.flags, "seed": seed}
                    job = _evaluation(f"{root}launch/evaluate.py", workdir, asked, jobs[before])
                    _add(jobs, job, trial)
                    evaluations[name] = job.key
            trials.append(Trial(setting, seed, (*chain, *evaluations.values()), evaluations))
    return Plan(sweep, tuple(seeds), tuple(trials), jobs)


def text(value: Any) -> str:
    """A value as a word of the command line has it."""
    return repr(value) if isinstance(value, tuple) else str(value)


def scaled(config: Any, scale: float) -> list[str]:
    """The words that make a stage `scale` times as long: steps and warm-up. At any scale a checkpoint at least every
    quarter, so that a stage that is killed loses no more than that."""
    steps, words = config.steps, []
    if scale != 1:
        steps = max(2, round(config.steps * scale))
        warmup = round(config.optimizer.warmup * scale)
        words = [f"--config.steps={steps}", f"--config.optimizer.warmup={warmup}"]
    return [*words, f"--config.checkpoint_every={min(config.checkpoint_every, max(1, math.ceil(steps / 4)))}"]


def configuration(config: Any) -> str:
    """What of a configuration decides about the weights, as JSON."""
    values = json.loads(config.to_json_best_effort())
    return json.dumps({key: value for key, value in values.items() if key not in WITHOUT_EFFECT}, sort_keys=True)


def identity(start: str) -> str:
    """What a path to start from holds, without reading its weights: where it is, its card, and its newest step."""
    path = Path(start)
    if not start or not path.is_dir():
        return start  # "": random weights; or a path on other hosts
    cards = [path / name for name in ("model.json", "config.json", "model.safetensors.index.json")]
    newest = max(finished_steps(path), default=0)
    return digest(str(path.resolve()), *(card.read_text() for card in cards if card.is_file()), str(newest))


def digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _evaluation(script: str, workdir: Path, flags: Mapping[str, Any], after: Job) -> Job:
    words = tuple(f"--{name}={text(value)}" for name, value in flags.items())
    content = json.dumps(sorted(words))
    key = f"evaluate-{digest(content, after.key)}"
    folder = workdir / "evaluations" / key.removeprefix("evaluate-")
    command = (script, f"--checkpoint={after.result}", *words, f"--out={folder}")
    return Job(key, "evaluate", command, folder, folder / "metrics.json", after.key, 0, content)


def _add(jobs: dict[str, Job], job: Job, trial: str) -> None:
    known = jobs.get(job.key, job)
    if trial not in known.needed_by:
        jobs[job.key] = Job(**{**vars(known), "needed_by": (*known.needed_by, trial)})
