"""Evaluate a checkpoint by the few-shot protocol: image and pixel metrics per category, mean ± std over reference draws.

    iadgpt evaluate --checkpoint=DIR --dataset=NAME --shots=1,2,4 --seeds=5 --out=DIR
    iadgpt evaluate --checkpoint=DIR --dataset=A,B --ratio=1,0.2 --out=DIR      several, each in its own folder
    iadgpt evaluate --from=DIR [--image_score=both] [--smoothing=4]             the metrics again, without a model

Writes OUT/raw/ (margins and maps), OUT/metrics.json (what follows from them), OUT/protocol.json (which images were
references and queries, by name), OUT/report.html (a page to look at) and OUT/tables/ (CSV and LaTeX). Interrupted, the
same command goes on with what is missing.

Queries are split over this machine's accelerators; `--fsdp=N` shards one copy of the weights over N of them. Several
processes (hosts of a cluster, or launch/local.py) share the work if OUT is a folder that all of them see.
"""  # noqa: E501

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import logging

from iadgpt_jax import __version__
from iadgpt_jax.alone import alone_in
from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.data.ancestry import INFO_KEY, refuse_trained, trained_before
from iadgpt_jax.data.detection_prompt import PROMPTS, named_prompt, prompt_of
from iadgpt_jax.data.sources import SPECIFICATIONS, notes_of, open_source
from iadgpt_jax.data.sources.pixel_hashes import hashed_aloud, unwatched
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.evaluate.benchmarks.command import add_benchmark_flags, evaluate_benchmarks, refuse, specifications
from iadgpt_jax.evaluate.evaluation import Asked, Evaluation, directories, plan_evaluation
from iadgpt_jax.evaluate.measure import IMAGE_SCORES, Options
from iadgpt_jax.evaluate.raw import RawFolder
from iadgpt_jax.evaluate.reference_list import AUTO, NONE, checked_in
from iadgpt_jax.evaluate.results import compute_metrics, evaluations_in, write_metrics, write_summary
from iadgpt_jax.evaluate.screen import result_lines
from iadgpt_jax.evaluate.work import pieces_of, score_missing, share
from iadgpt_jax.progress import progress
from iadgpt_jax.room import room_for
from iadgpt_jax.voice import say

NEEDED = ("checkpoint", "dataset", "out")  # without --from


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.ERROR)
    args = parse(arguments)
    if evaluate_benchmarks(args):  # answers in words: VisA-D&R, MMAD
        return
    if args.smoothing < 0:
        raise InputError(f"--smoothing={args.smoothing}: choose a standard deviation in pixels, or 0 for none")
    options = Options(args.image_score, args.smoothing)
    if args.raw_from is not None:
        without = [name for name in NEEDED if name in args.given]
        without += sorted(args.given - {"raw_from", "image_score", "smoothing", "json"})
        refuse(args, without, "has no effect: --from computes metrics again where they are, from what is there")
        with room_for(args.raw_from, "copy it to another folder"):
            return metrics_again(args.raw_from, options, args.json)

    # ---- Check the arguments before a model is loaded ----
    for name in NEEDED:
        if not getattr(args, name):
            raise InputError(
                f"--{name} is missing; give --checkpoint, --dataset and --out, or --from alone; see --help"
            )
    kind_of(args.checkpoint)
    asked = Asked(
        numbers(args.shots), args.seeds, args.seed, args.references,
        tuple(name for name in args.categories.split(",") if name), args.references_list,
    )  # fmt: skip
    if args.seeds < 1:
        raise InputError(f"--seeds={args.seeds}: at least one reference draw is needed")
    ratios = shares(args.ratio)
    prompt = named_prompt(args.prompt) if args.prompt else None
    evaluations = [
        plan_evaluation(spec, open_source(spec, seed=args.seed, side=None, mask_resize="nearest"), asked)
        for spec in specifications(args.dataset)
    ]
    places = directories(args.out, evaluations, ratios)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {args.out}: {error.strerror}; choose another --out") from error

    from iadgpt_jax.distributed import decided, is_main_process, joined

    with joined(), room_for(args.out, "choose another --out"), contextlib.ExitStack() as stack:
        decided(lambda: stack.enter_context(alone_in(args.out, f"evaluating into {args.out}", "choose another --out")))
        evaluate(args, options, prompt, places, say if is_main_process() else quiet)


def evaluate(args, options: Options, prompt, places: Sequence[tuple[Evaluation, float, Path]], say) -> None:
    """Score every dataset at every ratio, then write and print metrics. All processes do this together."""
    import jax

    from iadgpt_jax.checkpoint.identity import checkpoint_identity
    from iadgpt_jax.checkpoint.load import inspection_info, load_model, open_checkpoint
    from iadgpt_jax.distributed import is_main_process, wait_for_all
    from iadgpt_jax.evaluate.evaluator import Evaluator
    from iadgpt_jax.sharding import mesh_of_this_machine

    mesh, main_process = mesh_of_this_machine(args.fsdp), is_main_process()
    evaluations = list({id(one): one for one, _, _ in places}.values())
    for one in evaluations:
        asked = f"categories: {len(one.categories)}; shots: {args.shots}; draws: {args.seeds}; "
        say(f"{one.spec}: {one.queries} images to inspect ({asked}references: {args.references})")
        if one.note:
            say(f"{one.spec}: {one.note}")
    if any(ratio != 1 for _, ratio, _ in places) and 1 in evaluations[0].asked.shots:
        say("note: --ratio has no effect at 1 shot: the first reference keeps all its tokens")

    # ---- What the model was trained on shows nothing here ----
    opened = open_checkpoint(args.checkpoint).checked()  # the step that load_model will use
    seen: dict[int, dict[str, str]] = {}
    for one in evaluations:
        seen[id(one)] = trained_before(
            opened.info, one.source, one.categories, hashed_aloud if main_process else unwatched
        )
        if not args.allow_trained:
            refuse_trained(args.checkpoint, seen[id(one)])
        if opened.info.get("stage") and INFO_KEY not in opened.info:
            say(f"note: {args.checkpoint} does not say what it was trained on; make sure that it was not {one.spec}")

    # ---- What is there already must be of the same checkpoint, data and settings ----
    info, vision = inspection_info(opened.info), opened.config.vision
    side, unit = args.side or info["image_side"], vision.patch * vision.merge
    if side < unit or side % unit:
        raise InputError(f"--side={side}: choose a multiple of {unit}, or 0 for that of training")
    prompt, digest = prompt or prompt_of(info), checkpoint_identity(opened.directory, opened.step)
    facts = {
        "checkpoint": str(args.checkpoint), "step": opened.step, "detection_prompt": prompt.name,
        "allow_trained": args.allow_trained, "version": __version__,
    }  # fmt: skip
    settled = {
        directory: one.decides(
            digest=digest, side=side, ratio=ratio, prompt=prompt.to_dict(), map_space=info["map_space"]
        )
        for one, ratio, directory in places
    }
    if main_process:
        for one, _, directory in places:
            there = RawFolder(directory).begin(settled[directory], one.told() | facts | {"trained_on": seen[id(one)]})
            one.write_protocol(directory)
            if there:
                say(f"going on with {directory}: {there} raw files are there")
    wait_for_all("begun")
    for directory, decides in settled.items():
        RawFolder(directory).refuse_others(decides)  # other hosts must see the same folder, data and checkpoint

    # ---- Score ----
    for note in (note for one in evaluations for note in notes_of(one.source)):
        say(note)
    say(f"loading {args.checkpoint}")
    loaded = load_model(args.checkpoint, mesh)
    for one, ratio, directory in places:
        at = f" at ratio {ratio:g}" if ratio != 1 else ""
        evaluator = Evaluator(loaded, one.asked.shots, ratio=ratio, mesh=mesh, prompt=prompt)
        source = open_source(one.spec, side=side, seed=args.seed, mask_resize="nearest")
        room = evaluator.room([plan.queries for plan in one.draws[0]])
        watch = partial(progress, verb=f"scoring {one.source.name}{at}:", unit="batches") if main_process else unwatched
        score = partial(evaluator.score_groups, source, room=room, watch=watch)
        mine = share(pieces_of(one.draws, jax.process_count()), jax.process_count())[jax.process_index()]
        score_missing(RawFolder(directory), mine, one.draws, args.references, source, score)
    wait_for_all("scored")

    # ---- Metrics ----
    if main_process:
        for one, _, directory in places:
            source = open_source(one.spec, side=side, seed=args.seed, mask_resize="nearest")
            measure_and_print(directory, options, source, args.json)
        if len(places) > 1:
            summarize(args.out, [directory for _, _, directory in places])
    wait_for_all("written")


def metrics_again(root: Path, options: Options, as_json: bool) -> None:
    """Every metric of evaluation directories from their raw files alone, and the reports."""
    found = evaluations_in(root)
    for directory in found:
        measure_and_print(directory, options, dataset_of(directory), as_json)
    if found != [root]:
        summarize(root, found)


def dataset_of(directory: Path) -> Source | None:
    """The dataset of an evaluation directory, for its photographs; None, with a note, where it is not at hand."""
    settings = RawFolder(directory).settings()
    decides = settings["decides"]
    try:
        return open_source(settings["dataset"], side=decides["side"], seed=decides["seed"], mask_resize="nearest")
    except InputError as error:
        say(f"note: {directory / 'report.html'} goes without photographs: {error}")
        return None


def measure_and_print(directory: Path, options: Options, source: Source | None, as_json: bool) -> None:
    """Write metrics.json from raw/, print it, and write the report with photographs from the source. as_json: print a
    line of JSON with the metrics, and nothing else."""
    from iadgpt_jax.evaluate.evaluation_report import write_evaluation_report

    watch = partial(progress, verb="measuring:", unit="draws of a category")
    results = compute_metrics(RawFolder(directory), options, watch)
    write_metrics(directory, results)
    print(json.dumps(results) if as_json else "\n".join(result_lines(results)), flush=True)
    path = write_evaluation_report(directory, source)
    say(f"wrote {path}; beside it: metrics.json, tables/, protocol.json and raw/")


def summarize(root: Path, found: Sequence[Path]) -> None:
    """summary.json and index.html above several evaluation directories."""
    from iadgpt_jax.evaluate.evaluation_index import write_index

    write_summary(root, found)
    say(f"wrote {write_index(root, found)}; beside it: summary.json and tables/")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    args = parser().parse_args(arguments)
    args.given = parser().given(arguments)
    return args


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, buckets=("checkpoint",))
    add = made.add_argument
    add("--checkpoint", metavar="DIR", help="a training workdir, a step of it, or a Hugging Face folder")
    add("--dataset", action="append", metavar="NAME[,NAME…]", help=f"{SPECIFICATIONS}; may be repeated")
    add("--shots", default="1,2,4", help="numbers of references, comma-separated (default: %(default)s)")
    add("--seeds", type=int, default=5, help="reference draws (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the draws, and of procedural products (default: %(default)s)")
    add("--categories", default="", metavar="A,B", help="only these (default: all)")
    add("--references", default="own", choices=("own", "wrong", "none"),
        help="a control: references of another category, or none (default: own)")  # fmt: skip
    add("--references_list", default=AUTO, metavar="NAME|FILE",
        help=f"references by name: {', '.join(checked_in())} or a file; {AUTO}: the list that fits the dataset, if any "
        f"(default); {NONE}: draw them")  # fmt: skip
    add("--prompt", default="", metavar="NAME",
        help=f"detection prompt: {', '.join(PROMPTS)} (default: that of training)")  # fmt: skip
    add("--ratio", default="1", metavar="R[,R…]",
        help="share of tokens kept of references after the first (default: %(default)s)")  # fmt: skip
    add("--side", type=int, default=0, help="images are squashed to this square; 0: that of training (default)")
    add("--image_score", default="answer", choices=IMAGE_SCORES,
        help="what images are ranked by: the answer's log-odds (default), the map's maximum, or both: their sum, each "
        "standardised over the category")  # fmt: skip
    add("--smoothing", type=float, default=0.0, metavar="SIGMA",
        help="Gaussian over the maps at image size, in pixels; 0: none (default)")  # fmt: skip
    add("--fsdp", type=int, default=1, metavar="N", help="devices that share one copy of the weights (default: 1)")
    add("--allow_trained", action="store_true", help="evaluate what the model was trained on, too; the results say so")
    add("--json", action="store_true", help="print the metrics as JSON, a line for each evaluation, and nothing else")
    add("--out", type=Path, metavar="DIR", help="folder for results; of several evaluations, one folder in it for each")
    add("--from", dest="raw_from", type=Path, metavar="DIR",
        help="an earlier --out: compute the metrics again from its raw results, without a model")  # fmt: skip
    add_benchmark_flags(made)
    return made


def numbers(text: str) -> tuple[int, ...]:
    try:
        values = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or values[0] < 1:
        raise InputError(f"--shots={text}: give positive numbers separated by commas, such as 1,2,4")
    return values


def shares(text: str) -> list[float]:
    try:
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        values = [0.0]
    if not all(0 < value <= 1 for value in values):
        raise InputError(f"--ratio={text}: choose shares of tokens above 0 and at most 1, separated by commas")
    return values


def quiet(line: str) -> None:
    """What `say` is for all processes but the first."""


if __name__ == "__main__":
    main()
