"""Watches the numbers of every step: steps that were not applied, spikes, and how far the host runs ahead.

The device decides that a step is not applied (train/step.py). The host reads a step's numbers once the step after the
next has been dispatched, so it waits for nothing that the device could still do, and never runs ahead by more than two
steps: a stop that is asked for is soon done.

    workdir/nonfinite.jsonl   a line for each step that was not applied: its numbers, and the records it was made of
    workdir/spikes.jsonl      a line for each loss or gradient norm far above the median of the steps before
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax

from iadgpt_jax.bucket_files import place
from iadgpt_jax.errors import InputError
from iadgpt_jax.train.lines import lines_at

AHEAD = 2  # steps that may be dispatched and not done
WATCHED = ("loss", "gradient_norm")
SPIKE = 10.0  # times the running median
WINDOW, LEAST = 100, 20  # steps that the median is of; at least
NONFINITE, SPIKES = "nonfinite.jsonl", "spikes.jsonl"


class Guard:
    """Every process keeps one and sees the same numbers, so that all stop together; only the main one writes."""

    def __init__(
        self, workdir: str | Path, first: int, most: int, records: Callable[[int], Sequence[str]],
        say: Callable[[str], None], is_main_process: bool = True,
    ):  # fmt: skip
        """first: steps done before. most: how many steps one after the other may be left out. records: index of a step,
        from 0 -> names of the records that its rows were made of."""
        self.workdir, self.most, self.records, self.say = place(workdir), most, records, say
        self.ahead: deque[tuple[int, Mapping[str, jax.Array]]] = deque()
        self.skipped = self.in_a_row = 0
        self.before = {name: deque(maxlen=WINDOW) for name in WATCHED}
        self.nonfinite = self.spikes = None
        if is_main_process:
            self.nonfinite, self.spikes = (lines_at(self.workdir / name, first, say) for name in (NONFINITE, SPIKES))

    def step(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """After step `step` (from 1) is dispatched. Waits until no more than AHEAD steps are under way.

        Raises:
          InputError: too many steps one after the other were not applied.
        """
        self.ahead.append((step, metrics))
        while len(self.ahead) > AHEAD:
            self._look(*self.ahead.popleft())

    def finish(self) -> None:
        """Wait for every step. Raises InputError as `step` does."""
        while self.ahead:
            self._look(*self.ahead.popleft())

    def close(self) -> None:
        for lines in (self.nonfinite, self.spikes):
            if lines is not None:
                lines.close()

    def _look(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        seen = jax.device_get({name: metrics[name] for name in ("skipped", *WATCHED)})
        if seen.pop("skipped"):
            self._left_out(step, metrics)
            return
        self.in_a_row = 0
        for name, value in seen.items():
            self._compare(step, name, float(value))

    def _left_out(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        bad = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
        self.say(f"warning: step {step} is not applied, for not every number is finite: {bad} (see {NONFINITE})")
        if self.nonfinite is not None:
            told = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
            self.nonfinite.write({"step": step, "values": told, "records": list(self.records(step - 1))})
        if self.in_a_row >= self.most:
            first = step - self.in_a_row + 1
            raise InputError(
                f"steps {first} to {step} were not applied, for not every number was finite: {bad}. The weights are "
                f"those of step {first - 1}, checkpoints are whole, and {self.workdir / NONFINITE} has the records. "
                f"Replay the first: python tools/replay_step.py --workdir={self.workdir} --step={first}; then lower "
                "config.optimizer.rate, or leave out what is broken"
            )

    def _compare(self, step: int, name: str, value: float) -> None:
        before = self.before[name]
        median = statistics.median(before) if len(before) >= LEAST else math.inf
        if value > SPIKE * median > 0:
            self.say(f"warning: {name} {value:.4g} of step {step} is {value / median:.0f} times the median before it")
            if self.spikes is not None:
                self.spikes.write({"step": step, "name": name, "value": value, "median": median})
        before.append(value)
