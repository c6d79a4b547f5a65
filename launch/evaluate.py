"""Evaluate a checkpoint by the few-shot protocol: image and pixel AUROC per category, mean ± std over reference draws.

    python launch/evaluate.py --checkpoint=DIR --dataset=NAME --shots=1,2,4 --seeds=5 --out=DIR

Queries are split over this machine's accelerators; `--fsdp=N` shards one copy of the weights over N of them.

Writes OUT/metrics.json (what was measured) and OUT/protocol.json (which images were references and queries, by name).
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json

from absl import logging

from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.data.ancestry import INFO_KEY, trained_before
from iadgpt_jax.data.detection_prompt import PROMPTS, named_prompt
from iadgpt_jax.data.sources import SPECIFICATIONS, open_source
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.progress import progress

NAMED = 4  # categories that a message names before it only counts


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.ERROR)
    args = parse(arguments)

    # ---- Check the arguments before a model is loaded ----
    kind_of(args.checkpoint)
    shots, categories = numbers(args.shots), [name for name in args.categories.split(",") if name]
    if args.seeds < 1:
        raise InputError(f"--seeds={args.seeds}: at least one reference draw is needed")
    if not 0 < args.ratio <= 1:
        raise InputError(f"--ratio={args.ratio}: choose a share of tokens above 0 and at most 1")
    prompt = named_prompt(args.prompt) if args.prompt else None
    open_at = partial(open_source, args.dataset, seed=args.seed, mask_resize="nearest")
    source = open_at(side=None)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {args.out}: {error.strerror}; choose another --out") from error

    from iadgpt_jax.checkpoint.load import load_model, open_checkpoint
    from iadgpt_jax.evaluate.evaluator import Evaluator
    from iadgpt_jax.evaluate.protocol import draw_plans
    from iadgpt_jax.evaluate.table import render_table, summary_rows
    from iadgpt_jax.sharding import mesh_of_this_machine

    mesh = mesh_of_this_machine(args.fsdp)
    plans = draw_plans(source, shots, 0, args.seed, args.references, categories)
    asked = f"categories: {len(plans)}; shots: {args.shots}; draws: {args.seeds}; references: {args.references}"
    say(f"{args.dataset}: {sum(len(plan.queries) for plan in plans)} images to inspect ({asked})")

    # ---- What the model was trained on shows nothing here ----
    info = open_checkpoint(args.checkpoint).info
    seen = trained_before(info, source, [plan.category for plan in plans], hashing)
    if seen and not args.allow_trained:
        raise InputError(
            f"{args.checkpoint} was trained on {told(seen)}: leave them out with --categories, or say --allow_trained, "
            "and the results will tell"
        )
    if info.get("stage") and INFO_KEY not in info:
        say(f"note: {args.checkpoint} does not say what it was trained on; make sure that it was not {args.dataset}")

    # ---- Model, and images of the size it was trained on ----
    say(f"loading {args.checkpoint}")
    loaded = load_model(args.checkpoint, mesh)
    side = args.side or loaded.info["image_side"]
    unit = loaded.config.vision.patch * loaded.config.vision.merge
    if side < unit or side % unit:
        raise InputError(f"--side={side}: choose a multiple of {unit}, or 0 for that of training")
    source = open_at(side=side)

    # ---- Score ----
    evaluator = Evaluator(loaded, shots, ratio=args.ratio, mesh=mesh, prompt=prompt)
    draws = evaluator.draws(
        source, args.seeds, seed=args.seed, references=args.references, categories=categories, full=args.full,
        watch=lambda items, total: progress(items, total, "scoring", "batches"),
    )  # fmt: skip

    # ---- Write and print ----
    results = {
        "shots": {str(k): draws.summary[k] for k in shots},
        "dataset": args.dataset, "checkpoint": str(args.checkpoint), "step": loaded.step, "seeds": args.seeds,
        "seed": args.seed, "references": args.references, "ratio": args.ratio, "side": side, "smoothing": "none",
        "detection_prompt": evaluator.prompt.name, "allow_trained": args.allow_trained, "trained_on": seen,
    }  # fmt: skip
    write_json(args.out / "metrics.json", results)
    write_json(args.out / "protocol.json", protocol(source, draws, args.references))
    if args.references != "own":
        print(f"a control, references: {args.references}")
    if seen:
        print(f"not few-shot results, for the model was trained on {told(seen)}")
    print(render_table(summary_rows(results)))
    for name in results["shots"][str(shots[0])]["per_category"]:
        of_shots = ((k, draws.summary[k]["per_category"][name]) for k in shots)
        print(f"  {name}: " + "; ".join(f"{k}-shot {aurocs(metrics)}" for k, metrics in of_shots))
    print(f"wrote {args.out / 'metrics.json'} and {args.out / 'protocol.json'}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="a training workdir, a step of it, or a Hugging Face folder")
    add("--dataset", required=True, metavar="NAME", help=SPECIFICATIONS)
    add("--shots", default="1,2,4", help="numbers of references, comma-separated (default: %(default)s)")
    add("--seeds", type=int, default=5, help="reference draws (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the draws, and of procedural products (default: %(default)s)")
    add("--categories", default="", metavar="A,B", help="only these (default: all)")
    add("--references", default="own", choices=("own", "wrong", "none"),
        help="a control: references of another category, or none (default: own)")  # fmt: skip
    add("--prompt", default="", metavar="NAME",
        help=f"detection prompt: {', '.join(PROMPTS)} (default: that of training)")  # fmt: skip
    add("--ratio", type=float, default=1.0, metavar="R", help="tokens kept of references after the first (default: 1)")
    add("--side", type=int, default=0, help="images are squashed to this square; 0: that of training (default)")
    add("--fsdp", type=int, default=1, metavar="N", help="devices that share one copy of the weights (default: 1)")
    add("--full", action="store_true", help="also pixel AP, F1-max and AUPRO, fifty times as costly as pixel AUROC")
    add("--allow_trained", action="store_true", help="evaluate what the model was trained on, too; the results say so")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for metrics.json and protocol.json")
    return parser.parse_args(arguments)


def told(seen: dict[str, str]) -> str:
    """ "bolt (stage 2), nut (stage 3)": what was trained on, the first few of it."""
    named = [f"{category} ({why})" for category, why in list(seen.items())[:NAMED]]
    return ", ".join(named) + (f" and {len(seen) - NAMED} more categories" if len(seen) > NAMED else "")


def hashing(files: Iterable, total: int) -> Iterable:
    """Progress over photographs that are compared with those trained on."""
    return progress(files, total, "hashing", "photographs") if total else files


def numbers(text: str) -> tuple[int, ...]:
    try:
        values = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or values[0] < 1:
        raise InputError(f"--shots={text}: give positive numbers separated by commas, such as 1,2,4")
    return values


def aurocs(metrics: dict[str, float]) -> str:
    """ "0.912 / 0.934": image and pixel AUROC, the latter a dash where no masks are known."""
    pixel = metrics.get("pixel_auroc")
    return f"{metrics['image_auroc']:.3f} / " + ("–" if pixel is None else f"{pixel:.3f}")


def protocol(source, draws, references: str) -> dict:
    """What one needs to repeat the evaluation: the queries of every category and, per draw, its ordered references, of
    which k shots are the first k."""
    shown = [
        {plan.category: [source[i].key for i in plan.references if references != "none"] for plan in plans}
        for plans in draws.plans
    ]
    return {
        "references": references,
        "draws": shown,
        "queries": {plan.category: [source[i].key for i in plan.queries] for plan in draws.plans[0]},
    }


def write_json(path: Path, value) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=2))
    aside.replace(path)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
