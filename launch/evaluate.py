"""Evaluate a checkpoint by the few-shot protocol: image and pixel AUROC per category, mean ± std over reference draws.

    python launch/evaluate.py --checkpoint=DIR --dataset=NAME --shots=1,2,4 --seeds=5 --out=DIR
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import os

from iadgpt_jax.errors import InputError, clear_errors

DATASETS = "procedural:held_out, a folder in MVTec layout, or one written by tools/prepare_data.py"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="a training workdir, one step of it, or a hub directory")
    parser.add_argument("--dataset", required=True, help=DATASETS)
    parser.add_argument("--shots", default="1,2,4", help="numbers of references, comma-separated (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="reference draws (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws and of procedural products")
    parser.add_argument("--categories", default="", help="only these, comma-separated")
    parser.add_argument("--references", default="own", choices=("own", "wrong", "none"), help="or a control")
    parser.add_argument("--ratio", type=float, default=1.0, help="token compression r of references after the first")
    parser.add_argument("--side", type=int, default=0, help="image side in pixels; 0: as in training")
    parser.add_argument("--full", action="store_true", help="also pixel AP, F1-max and AUPRO")
    parser.add_argument("--out", required=True, help="metrics.json and protocol.json go here")
    return parser.parse_args(arguments)


@clear_errors()
def main() -> None:
    args = parse()
    shots = numbers(args.shots)
    categories = tuple(name for name in args.categories.split(",") if name)

    # ---- Data first: a wrong path should not wait for a model ----
    from iadgpt_jax.data.sources import open_source

    open_source(args.dataset, side=args.side or None, seed=args.seed, procedural_categories=32)

    from iadgpt_jax.evaluate.evaluator import Evaluator
    from iadgpt_jax.evaluate.table import render_table, summary_rows
    from iadgpt_jax.infer.load import load_any
    from iadgpt_jax.progress import progress

    # ---- Model ----
    loaded = load_any(args.checkpoint)
    side = args.side or loaded.info["image_side"]
    source = open_source(args.dataset, side=side, seed=args.seed, procedural_categories=32)

    # ---- Score ----
    evaluator = Evaluator(loaded, source, shots, ratio=args.ratio)
    draws = evaluator.draws(
        source, args.seeds, seed=args.seed, references=args.references, categories=categories, full=args.full,
        watch=lambda items, total: progress(items, total, "scoring", "batches"),
    )  # fmt: skip

    # ---- Say ----
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = {
        "shots": {str(k): draws.summary[k] for k in shots},
        "dataset": args.dataset, "checkpoint": str(args.checkpoint), "step": loaded.step, "seeds": args.seeds,
        "references": args.references, "ratio": args.ratio, "side": side, "smoothing": "none",
    }  # fmt: skip
    write_json(out / "metrics.json", results)
    write_json(out / "protocol.json", protocol(source, draws))
    print(render_table(summary_rows(results)))
    for k in shots:
        for name, metrics in draws.summary[k]["per_category"].items():
            print(f"  {k}-shot {name}: " + ", ".join(f"{m} {v:.3f}" for m, v in metrics.items() if "auroc" in m))
    print(f"wrote {out / 'metrics.json'}")


def numbers(text: str) -> tuple[int, ...]:
    try:
        values = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or values[0] < 1:
        raise InputError(f"--shots={text}: give positive numbers separated by commas, such as 1,2,4")
    return values


def protocol(source, draws) -> list[dict]:
    """Which images served as references in every draw, by key."""
    return [
        {plan.category: [source[i].key for i in plan.references] for plan in plans} for plans in draws.plans
    ]


def write_json(path: Path, value) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=2))
    aside.replace(path)


if __name__ == "__main__":
    main()
