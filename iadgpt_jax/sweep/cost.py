"""What a sweep would take on a TPU slice, from reports of launch/compile.py: every stage's steps at the step time that
its compiled program allows. A bound, not a measurement: no step is faster, and loading, saving and waiting come on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.plan import Job, Plan


def costs(plan: Plan, reports: Mapping[str, Mapping], rows: Mapping[str, int], chips: int, queries: int) -> list[dict]:
    """One line for each kind of job: {"kind", "jobs", "steps" (of all of them), "step_seconds" (with exposed
    collectives), "hours", "chip_hours"}.

    reports: kind -> report; rows: kind -> rows of its configuration, which its report must have been compiled for.
    queries: test images of an evaluation, every one scored once per draw; a report of scoring counts its own per step.
    Raises InputError for a report of another number of rows, or one of a program that does not fit.
    """
    kinds: dict[str, list[Job]] = {}
    for job in plan.jobs.values():
        kinds.setdefault(job.kind, []).append(job)
    lines = []
    for kind, jobs in sorted(kinds.items(), key=lambda item: (not item[1][0].training, item[0])):
        report = reports[kind]
        if not report.get("fits", False) or "roofline" not in report:
            raise InputError(f"{kind} does not fit {report.get('topology')}: choose a larger slice")
        if kind in rows and rows[kind] != report["rows"]:
            raise InputError(
                f"the report on {kind} is of {report['rows']} rows a step, its configuration has {rows[kind]}: compile "
                "it again"
            )
        step = report["roofline"]["exposed_step_seconds"]
        steps = sum(job.steps or _batches(job, queries, report["rows"]) for job in jobs)
        hours = steps * step / 3600
        lines.append(
            dict(kind=kind, jobs=len(jobs), steps=steps, step_seconds=step, hours=hours, chip_hours=hours * chips)
        )
    return lines


def _batches(job: Job, queries: int, at_once: int) -> int:
    return math.ceil(queries / at_once) * int(job.command_flag("seeds") or 1)


def cost_lines(lines: Sequence[Mapping], slice_name: str, chips: int, price: float | None) -> list[str]:
    """The costs as text. price: of a chip-hour, in any currency."""
    found = [f"{'':14}{'jobs':>6}{'steps':>10}{'s/step ≥':>10}{'hours':>9}{'chip-hours':>12}"]
    for line in lines:
        found.append(
            f"{line['kind']:14}{line['jobs']:>6}{line['steps']:>10,}{line['step_seconds']:>10.2f}{line['hours']:>9.1f}"
            f"{line['chip_hours']:>12,.0f}"
        )
    hours, chip_hours = (sum(line[key] for line in lines) for key in ("hours", "chip_hours"))
    found.append(f"{'in all':14}{'':26}{hours:>9.1f}{chip_hours:>12,.0f}")
    found.append(f"on one {slice_name} ({chips} chips), one job after the other: {hours / 24:.1f} days")
    if price is not None:
        found.append(f"at {price:g} a chip-hour: {chip_hours * price:,.0f}")
    return found
