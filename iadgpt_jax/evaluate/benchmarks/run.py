"""Evaluate a checkpoint on a benchmark of answers in words, or answers that are given; writes an evaluation directory.

settings.json   what decides the answers; a run that was stopped goes on only with the same
answers.jsonl   every question, its answer and its scores
judge.jsonl     what the judge was asked, and its grades
metrics.json    the numbers
report.html     both, to look at, and tables/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iadgpt_jax.alone import alone_in
from iadgpt_jax.checkpoint.identity import checkpoint_identity
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks import mmad, visa_dr
from iadgpt_jax.evaluate.benchmarks.answers import ANSWERS_FILE, FIELDS, given, read_answers, write_lines
from iadgpt_jax.evaluate.benchmarks.cases import Case, WordedSource
from iadgpt_jax.evaluate.benchmarks.dataset import open_benchmark
from iadgpt_jax.evaluate.benchmarks.generation import Setting, answer_cases
from iadgpt_jax.evaluate.benchmarks.options import MAX_NEW, Options
from iadgpt_jax.evaluate.benchmarks.scoring import Scoring, table
from iadgpt_jax.evaluate.benchmarks.wording import VERSION
from iadgpt_jax.evaluate.evaluation_report import write_evaluation_report
from iadgpt_jax.progress import progress
from iadgpt_jax.room import room_for
from iadgpt_jax.voice import say
from iadgpt_jax.whole_file import write_json

SETTINGS_FILE, METRICS_FILE = "settings.json", "metrics.json"
# What a metrics.json says of how answers came to be and were judged: scoring again leaves it as it is.
KEPT = ("benchmark", "dataset", "questions", "images", "answers", "unanswered", "checkpoint", "step", "trained_on",
        "allow_trained", "settings", "sbert_model", "judge")  # fmt: skip


def evaluate_benchmark(
    name: str, dataset: str, out: Path, options: Options, *, checkpoint: str = "", answers: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate `checkpoint` on benchmark `name`, or score the `answers` of a file without a model.

    Writes the evaluation directory and prints the table. Returns what is in metrics.json. Raises InputError for faulty
    input, before the model is loaded where that is possible; and, when all numbers are written, where judging stopped.
    """
    if options.max_new < 0 or options.at_once < 1:
        raise InputError("--max_new and --at_once are counts; choose 1 or more")
    scoring = Scoring(name, options.judge, say)
    source = open_benchmark(dataset, name)
    cases = _cases(name, source, options)
    wanted = name == mmad.NAME and answers is None and options.templates != "none"
    if wanted and not any(case.references for case in cases):
        raise InputError(
            f"{dataset} names no {options.templates} templates; choose another --templates, or prepare it again"
        )
    questions = sum(len(case.questions) for case in cases)
    say(f"{dataset}: {name}, {questions} questions about {len(cases)} images")
    with alone_in(out, f"evaluating into {out}", "choose another --out"), room_for(out, "choose another --out"):
        made: dict[str, Any] = {"benchmark": name, "dataset": dataset, "questions": questions, "images": len(cases)}
        if answers is not None:
            rows, missing = given(cases, read_answers(answers), answers)
            made |= _settings_of(answers, out) | {"answers": str(answers), "unanswered": missing}
        else:
            made |= _generate(name, dataset, source, cases, out, options, checkpoint)
            rows, missing = given(cases, read_answers(out / ANSWERS_FILE), out / ANSWERS_FILE)
            assert not missing, f"{missing} questions were not answered"
        made |= scoring(rows, out)
        _finish(made, rows, out, source)
    return made


def score_again(folder: Path, options: Options) -> dict[str, Any]:
    """Compute the metrics.json of a finished evaluation directory again, from its answers.jsonl alone; grades stay as
    they are where no judge is named. Prints and raises as `evaluate_benchmark`."""
    try:
        before = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        name = before["benchmark"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no finished evaluation ({error!r}); start the one that made it again") from error
    scoring = Scoring(name, options.judge, say)
    with alone_in(folder, f"evaluating into {folder}", "copy it and name the copy"):
        rows = list(read_answers(folder / ANSWERS_FILE).values())
        if lacking := [row["id"] for row in rows if not FIELDS <= row.keys()]:
            raise InputError(f"{folder / ANSWERS_FILE}: {lacking[0]} is not whole; start the evaluation again")
        made = {key: before[key] for key in KEPT if key in before} | scoring(rows, folder)
        _finish(made, rows, folder, None)
    return made


def _finish(made: dict[str, Any], rows: list[dict[str, Any]], out: Path, source: WordedSource | None) -> None:
    """Write and print the results; the report has photographs from the source. Raises InputError where judging
    stopped."""
    write_lines(out / ANSWERS_FILE, rows)
    write_json(out / METRICS_FILE, made)
    print(table(made))
    print(f"wrote {write_evaluation_report(out, source)}; beside it: {METRICS_FILE}, {ANSWERS_FILE} and tables/")
    if stopped := made.get("judge", {}).get("stopped"):
        raise InputError(f"judging stopped: {stopped}; what came is kept, start again to go on")


def _cases(name: str, source: WordedSource, options: Options) -> list[Case]:
    known = dict.fromkeys(record.category for record in source.records)
    if unknown := [category for category in options.categories if category not in known]:
        raise InputError(f"no category {', '.join(unknown)} in {source.name}; it has {', '.join(sorted(known))}")
    if name == visa_dr.NAME:
        found = visa_dr.cases(source, options.categories)
    else:
        found = mmad.cases(source, options.categories, options.templates, options.sequential)
    if not found:
        raise InputError(f"{source.name} asks no questions; name the folder that holds the benchmark's lists")
    return found


def _generate(
    name: str, dataset: str, source: WordedSource, cases: Sequence[Case], out: Path, options: Options, checkpoint: str
) -> dict[str, Any]:
    """Let the model answer; returns what the results say of it."""
    import jax

    from iadgpt_jax.checkpoint.load import load_model, open_checkpoint
    from iadgpt_jax.data.ancestry import refuse_trained, trained_before
    from iadgpt_jax.data.sources.pixel_hashes import hashed_aloud
    from iadgpt_jax.infer.inspector import Inspector
    from iadgpt_jax.sharding import make_mesh

    if jax.process_count() > 1:
        raise InputError("a benchmark of answers runs in one process; start it without launch/local.py, on one host")
    opened = open_checkpoint(checkpoint).checked()  # the step that load_model will use
    seen = trained_before(
        opened.info, source, sorted({question.category for case in cases for question in case.questions}), hashed_aloud
    )
    if not options.allow_trained:
        refuse_trained(checkpoint, seen)
    setting = Setting(name, options.layout, options.max_new or MAX_NEW[name], options.at_once)
    asked = {
        "layout": options.layout, "words": VERSION, "max_new": setting.max_new, "at_once": options.at_once,
        "side": options.side, "categories": list(options.categories),
    }  # fmt: skip
    if name == mmad.NAME:
        asked |= {"templates": options.templates, "conversation": "sequential" if options.sequential else "single"}
    digest = checkpoint_identity(opened.directory, opened.step)
    made_by = {"checkpoint": checkpoint, "step": opened.step, "weights": digest}
    _agree(out, asked | made_by | {"questions": _digest(cases)})
    devices = jax.local_devices()
    if not 1 <= options.fsdp <= len(devices):
        raise InputError(f"--fsdp={options.fsdp}: choose from 1 to the {len(devices)} devices of this machine")
    mesh = make_mesh(1, options.fsdp, 1, devices[: options.fsdp]) if options.fsdp > 1 else None
    say(f"loading {checkpoint}")
    inspector = Inspector(load_model(checkpoint, mesh), side=options.side or None, mesh=mesh)
    answer_cases(
        inspector, source, cases, setting, out,
        lambda groups, total: progress(groups, total, "answering", f"groups of {options.at_once} images"),
    )  # fmt: skip
    return {
        "checkpoint": checkpoint, "step": opened.step, "trained_on": seen, "allow_trained": options.allow_trained,
        "settings": asked | {"side": inspector.side},
    }  # fmt: skip


def _settings_of(answers: Path, out: Path) -> dict[str, Any]:
    """How the answers of an evaluation directory were made; nothing is known of others.

    Raises InputError where `out` holds answers that these would replace.
    """
    same = (out / ANSWERS_FILE).exists() and answers.resolve() == (out / ANSWERS_FILE).resolve()
    if (out / SETTINGS_FILE).is_file() and not same:
        raise InputError(f"{out} holds a model's answers, which those of {answers} would replace; choose another --out")
    beside = answers.with_name(SETTINGS_FILE)
    return {"settings": json.loads(beside.read_text(encoding="utf-8"))} if beside.is_file() else {}


def _agree(out: Path, settings: dict[str, Any]) -> None:
    """Note what decides the answers. Raises InputError where answers that lie there were made otherwise."""
    path = out / SETTINGS_FILE
    if not path.is_file():
        if (out / ANSWERS_FILE).is_file():
            raise InputError(f"{out} holds answers, and nothing says how they were made; choose another --out")
        write_json(path, settings)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; choose another --out") from error
    # The folder of a checkpoint may move; its weights may not change.
    if differing := [key for key in settings if before.get(key) != settings[key] and key != "checkpoint"]:
        key = differing[0]
        raise InputError(
            f"{out} was begun with another {key} ({_short(before.get(key))} instead of {_short(settings[key])}); "
            "choose another --out, or the same settings"
        )


def _short(value: Any) -> str:
    return str(value)[:60]


def _digest(cases: Sequence[Case]) -> str:
    """Of everything that is asked, with its options and templates."""
    told = [[[q.id, q.text, dict(q.options)] for q in case.questions] + [list(case.references)] for case in cases]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
