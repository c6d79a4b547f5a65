"""Build a corpus of described products: photographs of one's own for stage 1, where no published dataset has captions.

    python tools/build_corpus.py collect --workdir=DIR [--per_category=250] | --folder=DIR
    python tools/build_corpus.py clean --workdir=DIR [--exclude=EVALUATION_SET …]
    python tools/build_corpus.py describe --workdir=DIR --model=NAME --input_price=P --output_price=P --max_cost=C
    python tools/build_corpus.py publish --workdir=DIR [--out=DIR]

Each step goes on where it was stopped, by Ctrl-C or kill -9; nothing is searched for, asked or paid for again that is
on disk. describe reads the endpoint's key from the environment variable OPENAI_API_KEY. docs/corpus.md says what it
costs, and whose images these are.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax import voice
from iadgpt_jax.corpus import workdir as files
from iadgpt_jax.corpus.categories import OURS, read_categories
from iadgpt_jax.corpus.clean import Limits, clean
from iadgpt_jax.corpus.collect import collect_from_folder, collect_from_web, collected
from iadgpt_jax.corpus.crawl import ENGINES, LICENCES, WebSearch
from iadgpt_jax.corpus.describe import describe, plan
from iadgpt_jax.corpus.prompts import LATEST, read_prompts, versions
from iadgpt_jax.corpus.publish import publish
from iadgpt_jax.data.sources.prepare import SHEET_FILE, Runner
from iadgpt_jax.endpoint.asking import Patience
from iadgpt_jax.endpoint.client import Endpoint
from iadgpt_jax.endpoint.prices import Prices
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.progress import progress


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    with files.opened(flags.workdir):
        STEPS[flags.step](flags)


def run_collect(flags: argparse.Namespace) -> None:
    if flags.folder:
        passed_over = collect_from_folder(flags.workdir, flags.folder, watch("copying", "categories"))
        if passed_over:
            say(f"{passed_over} images show defects, or may: left where they are")
    else:
        categories = read_categories(flags.categories)
        search = WebSearch(flags.engine, flags.licence)
        say(f"{len(categories)} categories, at most {flags.per_category} images each; licence: {flags.licence}")
        empty = collect_from_web(
            flags.workdir, categories, flags.per_category, search, watch("searching", "categories")
        )
        if empty:
            say(f"nothing was found for {len(empty)} categories: {', '.join(empty[:8])}; run this again to try again")
    categories, images = collected(flags.workdir)
    say(f"{images} images of {categories} categories in {flags.workdir / files.COLLECTED}; next: clean")


def run_clean(flags: argparse.Namespace) -> None:
    if not flags.exclude:
        voice.warn("no evaluation set is kept out; name each with --exclude=DIR")
    values = clean(
        flags.workdir, Limits(flags.least_side, flags.distance), flags.exclude, watch("looking at", "images"),
        watch("looking at", "evaluation images"),
    )  # fmt: skip
    say(
        f"{values['kept']} of {values['images']} images are kept, {values['left_out_images']} left out; why: "
        f"{flags.workdir / files.CLEAN_REPORT}; next: describe"
    )


def run_describe(flags: argparse.Namespace) -> None:
    prompts, prices = read_prompts(flags.prompts), Prices(flags.input_price, flags.output_price)
    todo = plan(flags.workdir, prompts, flags.model, prices)
    say(
        f"{len(todo.images)} images, {len(todo.waiting)} to describe: {todo.questions} questions, about "
        f"{todo.estimate:.2f}; spent so far {todo.spent:.2f}, at most {flags.max_cost:g} in all"
    )
    if todo.estimate + todo.spent > flags.max_cost:
        voice.warn("that is more than --max_cost; the last images will have to wait")
    if flags.estimate:
        return
    endpoint = Endpoint(flags.model, flags.endpoint, flags.key_variable, flags.timeout)
    values = describe(
        flags.workdir, todo, prompts, endpoint, prices, flags.max_cost, flags.concurrency,
        Patience(flags.attempts, flags.first_wait), watch("describing", "images"),
    )  # fmt: skip
    say(
        f"{values['described']} of {values['images']} images are described, {values['refused']} refused, "
        f"{values['not_described']} to be asked again; spent {values['spent']:.2f}; why: "
        f"{flags.workdir / files.DESCRIBE_REPORT}"
    )
    if values["stopped"]:
        raise InputError(f"stopped: {values['stopped']}; what came is kept, start again to go on")
    say("next: publish" if not values["not_described"] else "run this again for the rest, or go on: publish")


def run_publish(flags: argparse.Namespace) -> None:
    out = flags.out or flags.workdir / "dataset"
    report = publish(flags.workdir, out, Runner(flags.processes), say, watch("writing", "shards"))
    voice.warn_lines(report.warnings())
    say(f"wrote {out}: {report.values['records']} described images; look at {out / SHEET_FILE}")


STEPS = {"collect": run_collect, "clean": run_clean, "describe": run_describe, "publish": run_publish}


def say(line: str) -> None:
    print(line, flush=True)


def watch(verb: str, unit: str) -> Callable[[Iterator[Any], int], Iterable[Any]]:
    """What is done, as it is done, with a line of progress."""
    return lambda done, total: progress(done, total, verb, unit)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="collect|clean|describe|publish")
    collect_, clean_, describe_, publish_ = (
        steps.add_parser(name, help=told)
        for name, told in (
            ("collect", "images of many products, from the web or a folder"),
            ("clean", "leave out what is broken, small, there twice, or an evaluation image"),
            ("describe", "three captions of every image, from a model behind an endpoint"),
            ("publish", "the dataset that training reads"),
        )
    )
    for step in (collect_, clean_, describe_, publish_):
        step.add_argument("--workdir", required=True, type=Path, metavar="DIR", help="of this corpus")

    add = collect_.add_argument
    add("--folder", type=Path, metavar="DIR", help="copy the good parts of this folder; nothing is searched for")
    add("--categories", type=Path, default=OURS, metavar="FILE", help="what to search for (default: our list)")
    add("--per_category", type=int_from(1), default=250, metavar="N", help="images of each at most (default: 250)")
    add("--engine", choices=ENGINES, default=ENGINES[0])
    licences = " | ".join(LICENCES)
    add("--licence", choices=LICENCES, default=LICENCES[0], metavar="NAME",
        help=f"only what the engine takes to be under such a licence: {licences} (default: %(default)s)")  # fmt: skip

    add = clean_.add_argument
    add("--exclude", type=Path, action="append", default=[], metavar="DIR",
        help="an evaluation set, prepared or a folder of images; several times for several")  # fmt: skip
    add("--least_side", type=int_from(1), default=Limits.least_side, metavar="PIXELS", help="(default: 224)")
    add(
        "--distance",
        type=int_from(-1),
        default=Limits.distance,
        metavar="BITS",
        help="in which the perceptual hashes of near-duplicates differ at most; -1: there are none (default: 4 of 64)",
    )

    add = describe_.add_argument
    add("--model", required=True, metavar="NAME", help="as the endpoint calls it")
    add("--endpoint", metavar="URL", help="(default: OpenAI's own, or $OPENAI_BASE_URL)")
    add("--key_variable", default="OPENAI_API_KEY", metavar="NAME", help="environment variable that holds the key")
    add("--input_price", required=True, type=number, metavar="P", help="per million tokens; 0 for your own server")
    add("--output_price", required=True, type=number, metavar="P", help="per million tokens; 0 for your own server")
    add("--max_cost", required=True, type=number, metavar="C", help="all runs together never spend more")
    add("--estimate", action="store_true", help="only say what it will cost")
    add("--prompts", choices=versions(), default=LATEST, help=f"version of the questions (default: {LATEST})")
    add("--concurrency", type=int_from(1), default=8, metavar="N", help="images asked about at once (default: 8)")
    add("--timeout", type=number, default=120.0, metavar="SECONDS", help="to wait for an answer (default: 120)")
    add("--attempts", type=int_from(1), default=Patience.attempts, metavar="N", help="of a question (default: 8)")
    add("--first_wait", type=number, default=Patience.first_wait, metavar="SECONDS",
        help="before a second attempt; doubles from there (default: 1)")  # fmt: skip

    add = publish_.add_argument
    add("--out", type=Path, metavar="DIR", help="(default: dataset in the work folder)")
    add("--processes", type=int_from(1), default=os.cpu_count() or 1, metavar="N", help="(default: one per processor)")
    return parser.parse_args(arguments)


def int_from(least: int) -> Callable[[str], int]:
    """A whole number of at least `least`."""

    def parse_int(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; at least {least}")
        return value

    parse_int.__name__ = "whole number"  # what argparse calls it in a message
    return parse_int


def number(text: str) -> float:
    """A number of zero or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of zero or more")
    return value


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    main()
