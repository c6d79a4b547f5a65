"""How long jobs take: measured ones of this workdir, by kind of job; before there are any, what the sweep expects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from iadgpt_jax.sweep.plan import Job, Plan

FILE = "times.jsonl"


class Times:
    """Seconds of jobs. DIR/times.jsonl has a line for each that finished: its kind, its steps and its seconds."""

    def __init__(self, workdir: Path, expected: Mapping[str, tuple[float, float]] | None = None):
        self.file = workdir / FILE
        self.expected = dict(expected or {})
        self._known: dict[str, list[tuple[int, float]]] = {}
        self._spent: dict[str, float] = {}
        if self.file.is_file():
            for line in self.file.read_text().splitlines():
                try:
                    row = json.loads(line)
                    self._keep(row["job"], row["kind"], row["steps"], row["seconds"])
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut off by a kill says nothing

    def note(self, job: Job, seconds: float, steps: int) -> None:
        """A job has taken so many seconds for so many steps."""
        self._keep(job.key, job.kind, steps, seconds)
        with open(self.file, "a") as file:
            file.write(
                json.dumps({"job": job.key, "kind": job.kind, "steps": steps, "seconds": round(seconds, 1)}) + "\n"
            )

    def _keep(self, key: str, kind: str, steps: int, seconds: float) -> None:
        self._known.setdefault(kind, []).append((steps, seconds))
        self._spent[key] = self._spent.get(key, 0.0) + seconds

    def of(self, job: Job) -> float | None:
        """Seconds that a job should take from its beginning, None where nothing is known of its kind."""
        known, steps = self._known.get(job.kind, []), max(job.steps, 1)
        if job.kind in self.expected:
            # What is expected says how start-up and steps compare, what was measured how fast this machine is.
            start, each = self.expected[job.kind]
            foreseen = sum(start + each * steps for steps, _ in known)
            return (start + each * job.steps) * (sum(seconds for _, seconds in known) / foreseen if known else 1.0)
        if not known:
            return None
        return sum(seconds for _, seconds in known) / sum(max(steps, 1) for steps, _ in known) * steps

    def spent(self, plan: Plan) -> float:
        """Seconds that the plan's finished jobs took, wherever they ran in this workdir."""
        return sum(self._spent.get(key, 0.0) for key in plan.jobs)

    def total(self, jobs: Iterable[Job]) -> float | None:
        """Seconds of several, one after the other; None where one is unknown."""
        times = [self.of(job) for job in jobs]
        return None if any(time is None for time in times) else sum(times)


def spoken(seconds: float | None) -> str:
    """ "3 h 20 min", "12 min", "40 s"; "an unknown time"."""
    if seconds is None:
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
