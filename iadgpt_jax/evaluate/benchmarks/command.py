"""The part of launch/evaluate.py that is about benchmarks of answers in words: its flags, and what they start."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.endpoint.prices import Prices
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks.answers import ANSWERS_FILE
from iadgpt_jax.evaluate.benchmarks.dataset import benchmark_of
from iadgpt_jax.evaluate.benchmarks.judge import Judge
from iadgpt_jax.evaluate.benchmarks.mmad import NAME as MMAD
from iadgpt_jax.evaluate.benchmarks.mmad import TEMPLATES
from iadgpt_jax.evaluate.benchmarks.options import LAYOUTS, MAX_NEW, Options

# Flags that would have no effect are refused. Of the command's own, those of detection alone; and those of answers.
FOR_DETECTION = (
    "shots", "seeds", "seed", "references", "references_list", "prompt", "ratio", "image_score", "smoothing", "json",
)  # fmt: skip
FOR_JUDGE = ("judge", "judge_model", "judge_key", "judge_prices", "judge_max_cost")
FOR_MMAD = ("templates", "conversation")
FOR_ANSWERS = ("answers", *FOR_JUDGE, *FOR_MMAD, "layout", "max_new", "at_once")


def add_benchmark_flags(parser: argparse.ArgumentParser) -> None:
    """Add them to the command's own."""
    group = parser.add_argument_group("VisA-D&R and MMAD (docs/reasoning.md)")
    add = group.add_argument
    add("--answers", type=Path, metavar="FILE", help="score these answers, an answers.jsonl, without a model")
    add("--judge", default=None, metavar="URL", help="OpenAI-compatible endpoint that grades answers in words; "
        "openai: OpenAI's own")  # fmt: skip
    add("--judge_model", default="", metavar="NAME", help="as the endpoint calls it")
    add("--judge_key", default="OPENAI_API_KEY", metavar="NAME",
        help="environment variable that holds the endpoint's key (default: %(default)s)")  # fmt: skip
    add("--judge_prices", default="0,0", metavar="IN,OUT", help="of a million tokens (default: 0,0)")
    add("--judge_max_cost", type=float, default=math.inf, metavar="C", help="all runs together never spend more")
    add("--templates", choices=TEMPLATES, default=TEMPLATES[0],
        help="MMAD: the good image shown before the query (default: the first random one)")  # fmt: skip
    add("--conversation", choices=("single", "sequential"), default="single",
        help="MMAD: every question alone, or after the answers to those before (default: single)")  # fmt: skip
    add("--layout", choices=LAYOUTS, default=LAYOUTS[0], help="images first and squashed, as in training, or among the "
        "words and at native resolution, as published (default: squares)")  # fmt: skip
    add("--max_new", type=int, default=0, metavar="TOKENS", help="longest answer (default: "
        + ", ".join(f"{name} {size}" for name, size in MAX_NEW.items()) + ")")  # fmt: skip
    add("--at_once", type=int, default=8, metavar="N", help="questions answered together (default: 8)")


def specifications(given: Sequence[str]) -> list[str]:
    """The datasets of all --dataset flags; a folder whose name has a comma is one."""
    found = [name for one in given for name in ([one] if Path(one).is_dir() else one.split(",")) if name]
    return list(dict.fromkeys(found))


def evaluate_benchmarks(args: argparse.Namespace) -> bool:
    """Evaluate on the benchmark that --dataset names; False, and nothing is done, where it names none.

    args: with `given`, the names of the flags on the command line. Raises InputError for faulty input, and for flags
    that would have no effect.
    """
    if args.raw_from is not None and (args.raw_from / ANSWERS_FILE).is_file():
        from iadgpt_jax.evaluate.benchmarks.run import score_again

        without = sorted(args.given - {"raw_from", *FOR_JUDGE})
        refuse(args, without, f"has no effect on the answers that {args.raw_from} holds already")
        score_again(args.raw_from, _options(args))
        return True
    datasets = specifications(args.dataset or ())
    found = {dataset: benchmark_of(dataset) for dataset in datasets}
    if not any(found.values()):
        named = f"{args.raw_from or ', '.join(datasets) or 'no --dataset'}"
        refuse(args, FOR_ANSWERS, f"is for VisA-D&R and MMAD (docs/reasoning.md), and {named} is neither")
        return False
    if len(datasets) > 1:
        raise InputError(f"{' and '.join(datasets)}: a benchmark of answers is evaluated alone; name one --dataset")
    ((dataset, name),) = found.items()
    refuse(args, FOR_DETECTION, f"is for detection, and {dataset} asks for answers in words (docs/reasoning.md)")
    if name != MMAD:
        refuse(args, FOR_MMAD, f"is for MMAD, and {dataset} is not")
    if not args.out:
        raise InputError("--out is missing; name the folder for results")
    if bool(args.checkpoint) == (args.answers is not None):
        raise InputError("give --checkpoint, a model to answer, or --answers, a file with answers: one of the two")
    options = _options(args)
    if args.checkpoint:
        kind_of(args.checkpoint)
    from iadgpt_jax.evaluate.benchmarks.run import evaluate_benchmark

    evaluate_benchmark(name, dataset, args.out, options, checkpoint=args.checkpoint or "", answers=args.answers)
    return True


def refuse(args: argparse.Namespace, flags: Iterable[str], why: str) -> None:
    """Raises InputError for the first of these flags that was given."""
    for flag in flags:
        if flag in args.given:
            raise InputError(f"--{flag} {why}: leave it out")


def _options(args: argparse.Namespace) -> Options:
    """What the flags say, those of the command among them. Raises InputError where they do not fit together."""
    judge = None
    if args.judge is not None:
        if not args.judge_model:
            raise InputError("--judge needs --judge_model=NAME: grades of different models are not comparable")
        url = "" if args.judge == "openai" else args.judge
        judge = Judge(url, args.judge_model, args.judge_key, _prices(args.judge_prices), args.judge_max_cost)
    elif args.judge_model:
        raise InputError("--judge_model needs --judge=URL, the endpoint to ask")
    return Options(
        categories=tuple(name for name in args.categories.split(",") if name),
        templates=args.templates,
        sequential=args.conversation == "sequential",
        layout=args.layout,
        max_new=args.max_new,
        at_once=args.at_once,
        side=args.side,
        fsdp=args.fsdp,
        allow_trained=args.allow_trained,
        judge=judge,
    )


def _prices(text: str) -> Prices:
    try:
        given = [float(part) for part in text.split(",")]
    except ValueError:
        given = []
    if len(given) != 2 or not all(0 <= price < math.inf for price in given):
        raise InputError(f"--judge_prices={text}: give two prices, of a million tokens in and out, such as 2.5,10")
    return Prices(*given)
