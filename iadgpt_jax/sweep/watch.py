"""Progress over a whole sweep, in one line: what is done, what runs and how far it is, and the time left.

On a terminal the line is rewritten in place; a log file or a pipe gets one every half minute.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from iadgpt_jax import voice
from iadgpt_jax.sweep.plan import Job, Plan
from iadgpt_jax.sweep.times import Times, spoken

INTERVAL = 30.0  # seconds between two lines where nobody rewrites them


class Watch:
    """Shows a plan's progress on a stream, standard error by default."""

    def __init__(self, plan: Plan, times: Times, parallel: int = 1, stream: TextIO | None = None):
        self.plan, self.times, self.parallel, self.stream = plan, times, parallel, stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.interval = 1.0 if self.terminal else INTERVAL
        self._shown: float | None = None
        self._since: dict[str, float] = {}

    def show(self, states: tuple[list[str], list[str]], now: bool = False) -> None:
        """states: keys of the jobs that run, and of those that wait."""
        for key in states[0]:
            self._since.setdefault(key, time.monotonic())
        if voice.is_quiet():
            return
        if not now and self._shown is not None and time.monotonic() - self._shown < self.interval:
            return
        self._shown = time.monotonic()
        self._write(self.line(*states))

    def close(self, states: tuple[list[str], list[str]]) -> None:
        self.show(states, now=True)
        if self.terminal and not voice.is_quiet():
            self.stream.write("\n")

    def say(self, line: str) -> None:
        """A line that stays."""
        self.stream.write(f"\r\033[K{line}\n" if self.terminal else line + "\n")
        self.stream.flush()

    def line(self, running: list[str], waiting: list[str]) -> str:
        """ "sweep components: 7 of 21 jobs done; stage3-1f0c at step 120 of 570; 31 min left"."""
        jobs = self.plan.jobs
        done = sum(job.finished for job in jobs.values())
        parts = [f"sweep {self.plan.sweep.name}: {done} of {len(jobs)} jobs done"]
        left: float | None = 0.0
        for key in running:
            job, step = jobs[key], logged_step(jobs[key])
            parts.append(f"{key} at step {step} of {job.steps}" if job.training else key)
            left = _plus(left, self._left(job, step))
        for key in waiting:
            left = _plus(left, self.times.of(jobs[key]))
        if running or waiting:
            parts.append("time left not known yet" if left is None else f"{spoken(left / self.parallel)} left")
        return "; ".join(parts)

    def _left(self, job: Job, step: int) -> float | None:
        whole = self.times.of(job)
        if whole is None:
            return None
        if job.training:
            return whole * (1 - step / job.steps)
        return max(whole - (time.monotonic() - self._since[job.key]), 0.0)

    def _write(self, line: str) -> None:
        if self.terminal:
            line = line[: os.get_terminal_size(self.stream.fileno()).columns - 1]
        self.stream.write(f"\r\033[K{line}" if self.terminal else line + "\n")
        self.stream.flush()


def _plus(left: float | None, more: float | None) -> float | None:
    return None if left is None or more is None else left + more


def logged_step(job: Job) -> int:
    """The last step in a stage's metrics.jsonl, 0 before there is one."""
    return last_step(job.folder / "metrics.jsonl") if job.training else 0


def last_step(file: Path) -> int:
    try:
        with open(file, "rb") as rows:
            rows.seek(0, os.SEEK_END)
            rows.seek(max(0, rows.tell() - 8192))
            lines = rows.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue  # a line that is being written, or cut off at the front
    return 0
