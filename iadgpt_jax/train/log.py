"""What training says: TensorBoard through clu, metrics.jsonl beside it, and a progress line with rate and time left."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

import jax

from iadgpt_jax.data.tally import Tally
from iadgpt_jax.train.speed import Speed
from iadgpt_jax.train.watch import Recompilations, device_memory


class Due(NamedTuple):
    """A step to be written, as it is known when it is dispatched; tally and waited since the due step before."""

    step: int
    steps: int
    metrics: Mapping[str, jax.Array]
    tally: Tally
    learning_rate: float
    waited: float


class TrainLog:
    """Collects a step's metrics as they are on the device and reads them an interval later, so nothing waits.

    Time is taken when metrics have arrived, for then their step is done, however far ahead steps are dispatched. Rates
    are of the whole run, all processes together; how full rows are, what was dropped and how long data was waited for
    are this process's own, and memory is its fullest device's. The first step, which compiles, is in no rate.
    """

    def __init__(
        self, workdir: str | Path, name: str, first: int, steps: int, every: int, speed: Speed, compiled: Recompilations
    ):
        from clu import metric_writers  # imports tensorflow: seconds, so only where training writes

        self.name, self.first, self.steps, self.every = name, first, steps, every
        self.speed, self.compiled = speed, compiled
        self.writer = metric_writers.create_default_writer(str(workdir), just_logging=False, asynchronous=True)
        self.lines = _continued(Path(workdir) / "metrics.jsonl", first)
        self.pending: Due | None = None
        self._begin(first)

    def _begin(self, step: int) -> None:
        self.start = self.mark = time.monotonic()
        self.start_step = self.last_due = step
        self.tally, self.waited = Tally(), 0.0

    def step(
        self, step: int, metrics: Mapping[str, jax.Array], tally: Tally, learning_rate: float, waited: float
    ) -> None:
        """After step `step` (1-based): remember its metrics when it is due; write those remembered before.

        `tally`: what this process's rows held. `waited`: seconds spent waiting for them.
        """
        self.waited += waited
        self.tally += tally
        if step % self.every == 0 or step == self.steps:
            self.flush()
            self.pending = Due(step, step - self.last_due, metrics, self.tally, learning_rate, self.waited)
            self.last_due, self.tally, self.waited = step, Tally(), 0.0
        elif step == self.first + 1:
            jax.block_until_ready(metrics)  # this once, so that the clock starts when the device has warmed up
            self._begin(step)

    def _measured(self, due: Due) -> dict[str, float]:
        """Rates up to now, when the step is done, and what else the host knows."""
        now = time.monotonic()
        seconds, self.mark = max(now - self.mark, 1e-9), now
        values = {"steps_per_second": due.steps / seconds, "data_wait_share": min(due.waited / seconds, 1.0)}
        values |= self.speed.rates(due.tally, seconds)
        values["filled_slots"], values["filled_images"] = due.tally.filled
        values["dropped"] = due.tally.dropped_share
        values["recompilations"] = self.compiled.count
        values["learning_rate"] = due.learning_rate
        return values | device_memory()

    def flush(self) -> None:
        """Write what is remembered, and the progress line."""
        if self.pending is None:
            return
        due, self.pending = self.pending, None
        step = due.step
        values = {key: float(value) for key, value in jax.device_get(dict(due.metrics)).items()}
        values |= self._measured(due)
        self.writer.write_scalars(step, values)
        self.lines.write(json.dumps({"step": step, **{k: round(v, 6) for k, v in values.items()}}) + "\n")
        pace = (time.monotonic() - self.start) / max(step - self.start_step, 1)
        parts = " ".join(f"{key} {values[key]:.3f}" for key in ("loss", "answer", "focal", "dice") if key in values)
        used = f"{values['mfu']:.1%} MFU" if "mfu" in values else f"{values['model_teraflops_per_second']:.3g} TFLOP/s"
        line = (
            f"{self.name} {step}/{self.steps}  {parts}  {values['queries_per_second']:.3g} queries/s, {used}  "
            f"rows {values['filled_slots']:.0%}, images {values['filled_images']:.0%} full, "
            f"{values['dropped']:.1%} dropped  {(self.steps - step) * pace:.0f} s left"
        )
        terminal = sys.stderr.isatty()
        sys.stderr.write(f"\r\033[K{line}" + ("\n" if step >= self.steps else "") if terminal else line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        self.flush()
        self.writer.close()
        self.lines.close()


def _continued(path: Path, step: int) -> TextIO:
    """metrics.jsonl open for more, without lines past the step training goes on from: a run that was killed may have
    written further than its last checkpoint, or half a line."""
    written = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in written if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != written:
        aside = path.with_suffix(".aside")
        aside.write_text("".join(kept))
        aside.replace(path)
    return open(path, "a", buffering=1)
