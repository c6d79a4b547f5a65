"""Run a sweep: named settings × seeds, trained and evaluated, and their table beside the paper's.

    iadgpt sweep --config=configs/sweeps/components.py[:SIZE] --workdir=DIR [--seeds=3] [--only=NAME,…]
        [--steps_scale=1.0] [--parallel=1] [--dry_run | --table] [-- --config.KEY=VALUE … --evaluate.FLAG=VALUE …]
    iadgpt sweep --config=configs/sweeps/components.py --plan=7b@v5p:2x2x4 [--price=4.2]

Trials share what they have in common: a stage is trained once into DIR/stages/, known by the content of its whole
configuration and by what it starts from, also by several sweeps with the same DIR. A sweep that was stopped or killed
goes on with the same command. A trial that fails for good is named with its reason; the table of the rest is made, and
the exit status is 1. For clusters launch/cluster/render.py takes the same --config; --table then makes the table.

Writes DIR/NAME/results.json, table.txt, table.csv, table.tex, plot.svg and plot.png. --plan runs nothing: it says what
the sweep takes on a TPU slice, from the reports of launch/compile.py --table.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.sweep.collect import results
from iadgpt_jax.sweep.cost import cost_lines, costs
from iadgpt_jax.sweep.plan import Plan, make_plan
from iadgpt_jax.sweep.run import Runner
from iadgpt_jax.sweep.spec import Sweep
from iadgpt_jax.sweep.table import render_csv, render_latex, render_text
from iadgpt_jax.sweep.times import Times, spoken
from iadgpt_jax.sweep.watch import Watch
from iadgpt_jax.voice import say
from iadgpt_jax.whole_file import write_whole
from launch.configuration import ROOT, load_file, read_config

VISA_QUERIES = 2162  # test images of VisA, what --plan counts for an evaluation


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    args, words = parse(sys.argv[1:] if arguments is None else arguments)
    if args.plan:
        return print_cost(args, words)

    # ---- Every configuration is built and checked before anything runs ----
    path, _, size = args.config.partition(":")
    sweep = read_sweep(path, size or "tiny")
    workdir = Path(args.workdir).absolute()
    plan = plan_of(args, sweep, size or "tiny", workdir, words, f"{ROOT}/")
    from configs.sweeps.common import SECONDS

    times = Times(workdir, SECONDS if not size or size == "tiny" else {})
    for line in plan_lines(plan, times, args.parallel, listed=args.dry_run):
        say(line)
    if args.dry_run:
        return 0
    out = make_folder(workdir / sweep.name)
    if args.table:
        return write_tables(plan, {}, out)

    # ---- Run what is missing ----
    runner = Runner(
        plan, workdir, interpreter=(sys.executable,), parallel=args.parallel, environment=environment(workdir),
        watch=Watch(plan, times, args.parallel),
    )  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.stop)
    began = time.monotonic()
    outcome = runner.run()
    if outcome.stopped is not None:
        say("stopped; the same command goes on from there")
        return 128 + outcome.stopped

    # ---- The table of what there is ----
    status = write_tables(plan, outcome.failed, out)
    print(f"{spoken(time.monotonic() - began)}; all its jobs one after the other: {spoken(times.spent(plan))}")
    return status


def plan_of(args: argparse.Namespace, sweep: Sweep, size: str, workdir: Path, words: Sequence[str], root: str) -> Plan:
    """The plan that the flags and the words after -- ask for. Raises InputError for anything that could not run."""
    from iadgpt_jax.train.bounds import check_configuration  # these two import JAX
    from launch.evaluate import parse as parse_evaluation

    if args.seeds < 1:
        raise InputError(f"--seeds={args.seeds}: at least one seed is needed")
    if not 0 < args.steps_scale < math.inf:
        raise InputError(f"--steps_scale={args.steps_scale}: choose a number above 0, 1 for the configured steps")
    overrides, flags = split_words(words)
    datasets = {name: value for name in ("detection", "reasoning") if (value := getattr(args, name))}
    plan = make_plan(
        sweep, workdir, size=size, seeds=range(args.seeds), configure=read_config, only=names(args.only),
        steps_scale=args.steps_scale, overrides=overrides, datasets=datasets, flags=flags, root=root,
        check=check_configuration,
    )  # fmt: skip
    for job in plan.jobs.values():
        if not job.training:
            parse_evaluation(job.command[1:])  # a flag that it does not have is known now, not after the training
    return plan


def read_sweep(path: str, size: str) -> Sweep:
    """The sweep of a file in configs/sweeps/. Raises InputError, in one line, for a file that is none."""
    usage = "configs/sweeps/NAME.py[:SIZE]"
    try:
        get_sweep = getattr(load_file(path, usage), "get_sweep", None)
        sweep = get_sweep(size) if callable(get_sweep) else None
    except InputError:
        raise
    except Exception as error:  # whatever a file of the user's own raises: it is their input
        raise InputError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(sweep, Sweep):
        raise InputError(f"{path} is no sweep: it needs a function get_sweep(size) that returns one; write {usage}")
    return sweep


def plan_lines(plan: Plan, times: Times, parallel: int, listed: bool) -> list[str]:
    """What a plan does and how long it should take; listed: every job, too."""
    jobs = list(plan.jobs.values())
    missing = [job for job in jobs if not job.finished]
    needed = sum(len(trial.jobs) for trial in plan.trials)
    settings = len({trial.setting.name for trial in plan.trials})
    total = times.total(missing)
    lines = [
        f"sweep {plan.sweep.name}: {settings} settings × {len(plan.seeds)} seeds; {needed} jobs, {len(jobs)} without "
        f"those that trials share, {len(jobs) - len(missing)} of them finished; the rest takes "
        f"{spoken(None if total is None else total / parallel)}"
    ]
    if listed:
        for job in jobs:
            steps = f"{job.steps} steps" if job.training else job.command_flag("dataset")
            state = "finished" if job.finished else spoken(times.of(job))
            after = f" after {job.before}" if job.before else ""
            lines.append(f"  {job.key}{after}: {steps}, {state}; for {', '.join(job.needed_by)}")
    return lines


def write_tables(plan: Plan, failed: Mapping[str, str], out: Path) -> int:
    """Write and print what was measured; the exit status, 1 where a trial has no result."""
    from iadgpt_jax.sweep.plot import draw

    found = results(plan, failed)
    files = {
        "results.json": json.dumps(found, indent=2) + "\n", "table.txt": render_text(found) + "\n",
        "table.csv": render_csv(found), "table.tex": render_latex(found),
    }  # fmt: skip
    for name, text in files.items():
        write_whole(out / name, text)
    draw(found, out / "plot.svg", out / "plot.png")
    print(render_text(found))
    print(f"wrote {out}/: {', '.join(files)}, plot.svg, plot.png")
    return 1 if found["failed"] else 0


def print_cost(args: argparse.Namespace, words: Sequence[str]) -> int:
    """What the sweep takes on a slice, from compile reports."""
    from configs.slices import chips_of
    from launch.tpu_table import Case

    size, _, where = args.plan.partition("@")
    if not where or size in ("tiny", "bench"):
        raise InputError(f"--plan={args.plan}: write SIZE@SLICE, as 7b@v5p:2x2x4")
    overrides, flags = split_words(words)
    plan = make_plan(
        read_sweep(args.config.partition(":")[0], args.plan), Path("plan"), size=args.plan, seeds=range(args.seeds),
        configure=read_config, only=names(args.only), steps_scale=args.steps_scale, overrides=overrides, flags=flags,
    )  # fmt: skip
    slices, topology = where.split("x", 1) if where[0].isdigit() else ("1", where)
    reports, rows = {}, {}
    for kind in {job.kind for job in plan.jobs.values()}:
        stage = 3 if kind == "evaluate" else int(kind[len("stage")])
        case = Case(stage, size, topology, int(slices), score=kind == "evaluate")
        file = Path(args.reports) / f"{case.name}.json"
        try:
            reports[kind] = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            command = f"python launch/compile.py {' '.join(case.flags)} --out={file}"
            raise InputError(f"no report {file} ({type(error).__name__}): run {command}") from error
        if kind != "evaluate":
            rows[kind] = read_config(f"configs/{kind}.py:{args.plan}").rows
    chips = chips_of(where)
    lines = costs(plan, reports, rows, chips, VISA_QUERIES)
    print(f"sweep {plan.sweep.name}: {len(plan.trials)} trials at {args.plan}, bounds from compiled programs")
    print("\n".join(cost_lines(lines, where, chips, args.price)))
    return 0


def split_words(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """(--config.KEY=VALUE words, flags of launch/evaluate.py by name) of the words after --."""
    overrides, flags = [], {}
    for word in words:
        if word.startswith("--evaluate."):
            name, equals, value = word.removeprefix("--evaluate.").partition("=")
            if not equals or name in ("checkpoint", "out", "seed", "dataset"):
                raise InputError(f"{word}: write --evaluate.FLAG=VALUE, of a flag that the sweep does not set itself")
            flags[name] = value
        else:
            overrides.append(word)
    return overrides, flags


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder} ({error.strerror}): choose another --workdir") from error
    return folder


def environment(workdir: Path) -> dict[str, str]:
    """What every job is started with: programs that one of them compiled are read by the next, and memory comes in huge
    pages, which makes training on a CPU a third faster. What is set already stays."""
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(workdir / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }  # fmt: skip
    return {name: value for name, value in own.items() if name not in os.environ}


# What a sweep consists of: flags and their defaults.
SWEEP_FLAGS = {"seeds": 3, "only": "", "steps_scale": 1.0, "detection": "", "reasoning": ""}
_HELP = {
    "seeds": ("N", "seeds 0 to N-1 of every setting (default: %(default)s)"),
    "only": ("NAME,…", "only these settings (default: all)"),
    "steps_scale": ("X", "multiplies every stage's steps and warm-up (default: %(default)s)"),
    "detection": ("DATASET", "evaluate on this instead of the sweep's own products"),
    "reasoning": ("DATASET", "a VisA-D&R dataset; without one its column stays empty"),
}


def add_flags(parser: argparse._ActionsContainer) -> None:
    for name, default in SWEEP_FLAGS.items():
        metavar, text = _HELP[name]
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar=metavar, help=text)


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--config", required=True, metavar="configs/sweeps/NAME.py[:SIZE]")
    add("--workdir", default="", metavar="DIR", help="stages, evaluations and tables; sweeps may share one")
    add_flags(made)
    add(
        "--parallel", type=int, default=1, metavar="N", help="jobs at once, each on its share of the cores (default: 1)"
    )
    add("--dry_run", action="store_true", help="print the jobs and the expected time, run nothing")
    add("--table", action="store_true", help="make the tables of what is there, run nothing")
    add("--plan", default="", metavar="SIZE@SLICE", help="time and cost on a TPU slice, from compile reports")
    add("--reports", default="workdir/ahead", metavar="DIR", help="with --plan: compile reports (default: %(default)s)")
    add("--price", type=float, default=None, help="with --plan: of a chip-hour")
    return made


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    args = parser().parse_args(arguments[:split])
    if args.parallel < 1:
        raise InputError(f"--parallel={args.parallel}: at least one job runs at a time")
    if not args.workdir and not args.plan:
        raise InputError("--workdir=DIR is missing: stages, evaluations and tables go there")
    return args, list(arguments[split + 1 :])


if __name__ == "__main__":
    sys.exit(main())
