"""What a plan's finished evaluations measured: mean ± std over seeds for every setting and column, read from disk.

The same numbers come out whether the sweep has just run, ran on a cluster, or is still incomplete.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.plan import Job, Plan
from iadgpt_jax.sweep.spec import Column, Setting


def results(plan: Plan, failed: Mapping[str, str]) -> dict:
    """What results.json holds. failed: key of a job -> why it failed for good.

    rows: one for every setting, in the table's order: {"name", "marks", "seeds" (those measured), "metrics": {column:
    {"mean", "std", "values" by seed}}, "published"}. std is that of a sample (n - 1), None of a single seed. A column
    that nothing was measured for is absent. failed: trials without a result, each with its job and the reason. order:
    pairs of rows that the published numbers rank the other way round.
    """
    sweep = plan.sweep
    settings = {trial.setting.name: trial.setting for trial in plan.trials}
    rows = [_row(plan, setting) for setting in settings.values()]
    return {
        "sweep": sweep.name, "title": sweep.title, "heads": list(sweep.heads), "source": sweep.source,
        "published_on": sweep.published_on, "notes": list(sweep.notes), "seeds": list(plan.seeds),
        "columns": [vars(column) for column in sweep.columns],
        "measured_on": sorted({job.command_flag("dataset") for job in plan.jobs.values() if not job.training}),
        "rows": rows, "failed": failures(plan, failed),
        "order": {column.name: turned(rows, column.name) for column in sweep.columns},
    }  # fmt: skip


def failures(plan: Plan, failed: Mapping[str, str]) -> list[dict]:
    """{"name", "seed", "job", "why"} of every trial without all of its results."""
    found = []
    for trial in plan.trials:
        job = next((key for key in trial.jobs if not plan.jobs[key].finished), None)
        if job is not None:
            why = failed.get(job, "not run yet")
            found.append({"name": trial.setting.name, "seed": trial.seed, "job": job, "why": why})
    return found


def _row(plan: Plan, setting: Setting) -> dict:
    values: dict[str, dict[str, float]] = {}
    seeds = []
    for trial in plan.trials:
        if trial.setting is not setting:
            continue
        measured = {name: read(plan.jobs[key]) for name, key in trial.evaluations.items() if plan.jobs[key].finished}
        if measured:
            seeds.append(trial.seed)
        for column in plan.sweep.columns:
            value = at(measured.get(column.evaluation, {}), column.path)
            if value is not None:
                values.setdefault(column.name, {})[str(trial.seed)] = value
    return {
        "name": setting.name, "marks": dict(zip(plan.sweep.heads, setting.marks, strict=True)), "seeds": seeds,
        "metrics": {name: summary(found) for name, found in values.items()}, "published": dict(setting.published),
    }  # fmt: skip


def summary(values: Mapping[str, float]) -> dict:
    found = list(values.values())
    std = statistics.stdev(found) if len(found) > 1 else None
    return {"mean": statistics.fmean(found), "std": std, "values": dict(values)}


def read(job: Job) -> dict:
    """An evaluation's metrics.json. Raises InputError where it is damaged."""
    try:
        metrics = json.loads(job.result.read_text())
        if not isinstance(metrics, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise InputError(f"{job.result} is damaged ({error}): delete {job.folder} and run the sweep again") from error
    return metrics


def at(metrics: Mapping, path: str) -> float | None:
    """The number at keys joined by dots, of {"mean", "std"} its mean; None where there is none."""
    value: Any = metrics
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    if isinstance(value, Mapping):
        value = value.get("mean")
    return float(value) if isinstance(value, int | float) else None


def turned(rows: list[dict], column: str) -> list[dict]:
    """Pairs of rows that the paper ranks the other way round: {"better", "worse" (in the paper), "published" (by how
    much better there), "measured" (by how much here, negative), "seeds" (in how many of them, of how many)}. Seeds that
    only one of the rows has do not count."""
    known = [row for row in rows if column in row["metrics"] and column in row["published"]]
    found = []
    for a, b in combinations(known, 2):
        better, worse = (a, b) if a["published"][column] >= b["published"][column] else (b, a)
        published = better["published"][column] - worse["published"][column]
        ours, theirs = (row["metrics"][column]["values"] for row in (better, worse))
        apart = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        if published > 0 and apart and statistics.fmean(apart) < 0:
            found.append({
                "better": better["name"], "worse": worse["name"], "published": published,
                "measured": statistics.fmean(apart), "seeds": [sum(gap < 0 for gap in apart), len(apart)],
            })  # fmt: skip
    return found


def columns_of(found: Mapping) -> list[Column]:
    """The columns of results.json."""
    return [Column(**column) for column in found["columns"]]
