"""What a stage is made of, before it is trained: measured on some rows, scaled to all of its steps.

Rows are packed as training packs them, so the mix, the fill and what is dropped are the run's own; only the number of
rows differs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from iadgpt_jax.data.loader import Batches
from iadgpt_jax.data.tally import Tally, Taught
from iadgpt_jax.errors import InputError

GROUPS = 48  # of rows, measured where opening the batches has measured none
TIMED = 4  # groups of rows, of which the loader's rate is measured


def compose(config, batches: Batches) -> dict[str, Any]:
    """The composition of the run that `config` describes, for composition.json.

    parts: of every task and source what all steps together train on, and how often that is an epoch of the source's
    instances. stages: questions of the stage's own and of each that is replayed, and beside them what the paper has.
    fill, dropped, cut: shares, of slots and of instances.
    """
    groups = max(min(GROUPS, config.steps * config.rows // batches.group), 1)
    tally = batches.sample or batches.measure(groups)
    sampled = tally.slots_room // batches.shape.slots
    scale = config.steps * config.rows / sampled
    parts = [_part(config, part, tally, scale) for part in batches.parts]
    return {
        "stage": config.stage, "size": config.size, "steps": config.steps, "rows": config.rows,
        "slots": batches.shape.slots, "sampled_rows": sampled,
        "questions_per_step": tally.queries / sampled * config.rows,
        "parts": parts, "stages": _stages(config, parts), "fill": tally.filled[0], "fill_images": tally.filled[1],
        "dropped": tally.dropped_share, "cut": tally.cut_share,
        "quarantined": dict(batches.limit.known) if batches.limit else {},
        "loader_rows_per_second": _rate(batches),
    }  # fmt: skip


def _part(config, part, tally: Tally, scale: float) -> dict[str, Any]:
    taught = tally.tasks.get(part.name, Taught())
    counts = {name: round(count * scale) for name, count in taught._asdict().items()}
    return {
        "source": part.source or config.source, "task": part.task.name,
        "replay": config.mixture[part.task.name].replay, **counts,
        "instances_per_epoch": len(part.task), "epochs": counts["instances"] / len(part.task),
        "share": tally.mix()[part.name][0] if part.name in tally.tasks else 0.0, "asked": part.share,
    }  # fmt: skip


def _stages(config, parts) -> dict[str, dict[str, float | None]]:
    """Name of the stage itself, and of those replayed -> questions trained on, and the paper's for one epoch."""
    paper = {"": config.questions} | {name: one.share * one.questions for name, one in config.replay.items()}
    found = {}
    for stage, questions in paper.items():
        trained = sum(part["questions"] for part in parts if part["replay"] == stage)
        found[stage or f"stage{config.stage}"] = {
            "questions": trained, "paper": questions or None, "epochs": trained / questions if questions else None,
        }  # fmt: skip
    return found


def _rate(batches: Batches) -> float:
    """Rows that one thread reads, decodes, encodes and packs in a second of its processor's time. Copied as for a
    worker process, sources have forgotten what they decoded: a large dataset does not stay in memory either."""
    fresh = copy.deepcopy(batches)
    start = time.thread_time()
    for group in range(TIMED):
        fresh.packed(group)
    return TIMED * batches.group / (time.thread_time() - start)


def fed(found: dict[str, Any], report: Mapping[str, Any]) -> dict[str, float]:
    """Whether hosts keep a slice busy: `report` is launch/compile.py's on the same step. It eats rows no faster than
    its bound; threads: how many of this machine's make as many, decoding included.

    Raises InputError where the report is on another step.
    """
    for name in ("stage", "size", "rows", "slots"):
        if report.get(name) != found[name]:
            raise InputError(
                f"--report is on a step with {name} {report.get(name)}, and this one has {name} {found[name]}: compile "
                "the same configuration (launch/compile.py --out)"
            )
    seconds = report["roofline"]["step_seconds"]
    needed = found["rows"] / seconds
    return {
        "devices": report["devices"], "step_seconds": seconds, "rows_per_second": needed,
        "threads": needed / found["loader_rows_per_second"],
    }  # fmt: skip


def composition_lines(found: dict[str, Any]) -> list[str]:
    """The composition for a terminal, one line after the other."""
    head = ("task", "source", "questions", "share", "instances", "epochs", "images", "answer tokens")
    table = [
        (
            part["task"] + (f" ({part['replay']})" if part["replay"] else ""), part["source"],
            f"{part['questions']:,}", f"{part['share']:.1%}", f"{part['instances']:,}", f"{part['epochs']:.3g}",
            f"{part['images']:,}", f"{part['answer_tokens']:,}",
        )
        for part in found["parts"]
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in [head, *table]) for column in range(len(head))]
    lines = [_aligned(row, widths) for row in [head, *table]]
    for stage, one in found["stages"].items():
        beside = f"; the paper has {one['paper']:,.0f} in an epoch: {one['epochs']:.2f} epochs" if one["paper"] else ""
        lines.append(f"{stage}: {one['questions']:,} questions in {found['steps']:,} steps{beside}")
    lines.append(
        f"{found['questions_per_step']:.1f} questions a step of {found['rows']} rows; rows {found['fill']:.1%}, images "
        f"{found['fill_images']:.1%} full, {found['dropped']:.2%} of instances dropped, {found['cut']:.2%} with "
        f"cut texts (of {found['sampled_rows']} rows); one thread makes {found['loader_rows_per_second']:.3g} rows a "
        "second"
    )
    if feeding := found.get("feeding"):
        lines.append(
            f"{feeding['devices']} chips need {feeding['step_seconds']:.2f} s a step at least, and then "
            f"{feeding['rows_per_second']:.1f} rows a second: {feeding['threads']:.0f} threads like this one make them"
        )
    lines += [f"cannot be decoded: {key}: {reason}" for key, reason in found["quarantined"].items()]
    return lines


def _aligned(row, widths) -> str:
    """Names to the left, numbers to the right."""
    cells = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(cells).rstrip()
