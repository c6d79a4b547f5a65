"""All of IADGPT in small: three stages of training, evaluation with controls, an export, and a report.

    iadgpt quickstart --workdir=workdir/quickstart --seed=0

Its products are procedural, so it needs no data and no weights. After a stop the same command goes on where it was.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import os
import platform
import time
from importlib import import_module, metadata

import ml_collections

from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.lock import locked
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.voice import say
from iadgpt_jax.whole_file import write_json

STAGES = ("stage1", "stage2", "stage3", "stage3_finish")
SHOTS = (1, 2, 4)
DRAWS = 3
ANSWERS_PER_CATEGORY = 6


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    return parser().parse_args(arguments)


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--workdir", default="workdir/quickstart", help="results go here (default %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of products, weights and draws (default %(default)s)")
    made.add_argument("--steps_scale", type=float, default=1.0, help="multiplies every stage's steps, for a quick look")
    return made


@clear_errors()
def main() -> None:
    args = parse()
    with locked(args.workdir):
        run(args)


def run(args: argparse.Namespace) -> None:
    start = time.monotonic()
    workdir = Path(args.workdir)
    say(f"quickstart in {workdir}, seed {args.seed}")
    configs = configs_of(workdir, args.seed, args.steps_scale)
    own(workdir, configs)

    # ---- Products to train on, and held-out products ----
    from iadgpt_jax.progress import Meter, progress

    source = open_source("procedural", side=None, seed=args.seed)
    held_out = open_source("procedural:held_out", side=None, seed=args.seed)
    source.prepare(workers=2, progress=Meter("photographing training products", "categories"))
    held_out.prepare(workers=2, progress=Meter("photographing held-out products", "categories"))

    # ---- Three stages, and the finish with the paper's maps ----
    from launch.train import quiet, train

    quiet()
    for name, config in configs.items():
        train(config, str(workdir / name), source)
    previous = str(workdir / STAGES[-1])
    trained = time.monotonic() - start

    # ---- Evaluation, with controls and generated answers ----
    from iadgpt_jax.checkpoint.load import load_model
    from iadgpt_jax.evaluate.answers import generate_answers, map_reading
    from iadgpt_jax.evaluate.asked import ask_pairs
    from iadgpt_jax.evaluate.held_out import evaluate_held_out, gallery

    def watch(what):
        return lambda items, total: progress(items, total, f"evaluating {what}:", "batches")

    loaded = load_model(previous)
    measured = evaluate_held_out(loaded, held_out, SHOTS, DRAWS, seed=args.seed, watch=watch)
    answers = generate_answers(
        loaded, held_out, measured.draws.plans[0], ANSWERS_PER_CATEGORY, seed=args.seed, watch=watch("answers")
    )
    maps = measured.draws.scored[0][max(SHOTS)]
    grades = answers.grades | {"map_reading": map_reading(held_out, answers.texts, maps)}
    plans, questions = measured.draws.plans[0], watch("short questions")
    grades["asked"] = ask_pairs(loaded, held_out, plans, seed=args.seed, watch=questions)

    # ---- Export for transformers ----
    from iadgpt_jax.checkpoint.files import TOKENIZER
    from iadgpt_jax.convert.hf_export import export_hf

    export = workdir / "export"
    note = export_hf(loaded.params, loaded.config, Path(previous) / TOKENIZER, export, info=loaded.info, replace=True)
    say(f"exported to {export}; note: {note}" if note else f"exported to {export}")

    # ---- Results ----
    from iadgpt_jax.evaluate.report import write_report
    from iadgpt_jax.evaluate.report_answers import render_answers
    from iadgpt_jax.evaluate.table import render_table, summary_rows

    results = {
        "wall_seconds": round(time.monotonic() - start, 1), "training_seconds": round(trained, 1), "seed": args.seed,
        **measured.results, "answers": grades, "export": {"directory": export.name, "note": note},
    }  # fmt: skip
    write_json(workdir / "results.json", results)
    write_report(
        workdir / "report.html",
        title="IADGPT quickstart",
        lede="A small IADGPT, trained from scratch on procedural products, inspects products it has never seen, "
        "from one, two or four good examples.",
        results=results,
        curves={name: curves(workdir / name) for name in STAGES},
        roc=measured.roc,
        gallery=gallery(held_out, measured, 4, answers, seed=args.seed),
        facts=facts(args, results, source, held_out),
    )
    print(render_table(summary_rows(results)))
    print(render_answers(grades))
    print(f"{results['wall_seconds']:.0f} s. Look at {workdir / 'report.html'}; numbers: {workdir / 'results.json'}")


def configs_of(workdir: Path, seed: int, scale: float) -> dict[str, ml_collections.ConfigDict]:
    """The configuration of each stage, which starts from the one before."""
    configs, previous = {}, ""
    for name in STAGES:
        config = import_module(f"configs.{name}").get_config("tiny")
        config.seed, config.init_from = seed, previous
        config.steps = max(2, round(config.steps * scale))
        configs[name], previous = config, str(workdir / name)
    return configs


def own(workdir: Path, configs: dict[str, ml_collections.ConfigDict]) -> None:
    """Say whose run lies in the workdir. Raises InputError where it is of another seed or length: it would be taken for
    this one's."""
    from iadgpt_jax.checkpoint.workdir import read_model_files

    found = []
    for name, config in configs.items():
        steps = finished_steps(workdir / name)
        if not steps:
            continue
        there = read_model_files(workdir / name)[2].get("config", {})
        if (seed := there.get("seed", config.seed)) != config.seed:
            raise InputError(
                f"{workdir} holds a run of seed {seed}, not {config.seed}: pass --seed={seed} to go on with it, or "
                "another --workdir"
            )
        if (length := there.get("steps", config.steps)) != config.steps:
            raise InputError(
                f"{workdir} holds a run of another length: {name} has {length} steps there, not {config.steps}: pass "
                "the --steps_scale it was begun with, or another --workdir"
            )
        config.init_from = there.get("init_from", config.init_from)  # not read again; the folder may have been moved
        found.append(f"{name} at step {steps[-1]} of {config.steps}")
    if found:
        say(f"{workdir} holds a run of seed {config.seed}: {', '.join(found)}; going on")


def curves(stage: Path) -> dict[str, list[float]]:
    """The columns of a stage's metrics.jsonl."""
    rows = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if None not in row.values()]  # null: not a finite number
    names = [key for key in (rows[0] if rows else ()) if all(key in row for row in rows)]
    return {name: [row[name] for row in rows] for name in names}


def facts(args: argparse.Namespace, results: dict, source: Source, held_out: Source) -> dict[str, str]:
    trained_on, unseen = (len({record.category for record in one.records}) for one in (source, held_out))
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "grain")
    return {
        "command": f"make quickstart WORKDIR={args.workdir} SEED={args.seed}",
        "wall time": f"{results['wall_seconds']:.0f} s, of it training {results['training_seconds']:.0f} s",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in packages),
        "products": f"{trained_on} training categories, {unseen} held out, a quarter of them of unseen families",
        "export": results["export"]["note"] or "equal to stock transformers",
    }


def set_huge_pages() -> None:
    """Training on a CPU touches hundreds of megabytes anew every step; huge pages make that a third faster (glibc 2.35
    on). malloc reads its settings when a process starts, so this one starts itself again, once; settings of the user's
    own stay."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


if __name__ == "__main__":
    set_huge_pages()
    main()
