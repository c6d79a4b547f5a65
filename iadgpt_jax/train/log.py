"""What training says: TensorBoard through clu, metrics.jsonl beside it, and a progress line with rate and time left."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import jax

from iadgpt_jax.data.tally import Tally


class TrainLog:
    """Collects a step's metrics as they are on the device and reads them an interval later, so nothing waits."""

    def __init__(self, workdir: str | Path, name: str, first: int, steps: int, every: int):
        from clu import metric_writers  # imports tensorflow: seconds, so only where training writes

        self.name, self.steps, self.every = name, steps, every
        self.writer = metric_writers.create_default_writer(str(workdir), just_logging=False, asynchronous=True)
        self.lines = _continued(Path(workdir) / "metrics.jsonl", first)
        self.pending: tuple[int, Mapping[str, jax.Array], dict[str, float]] | None = None
        self.start, self.start_step = time.monotonic(), first
        self.mark, self.mark_step = self.start, first
        self.waited, self.tally = 0.0, Tally()

    def step(
        self, step: int, metrics: Mapping[str, jax.Array], tally: Tally, learning_rate: float, waited: float
    ) -> None:
        """After step `step` (1-based): remember its metrics when it is due; write those remembered before.

        `tally`: what this process's rows held. `waited`: seconds spent waiting for them.
        """
        self.waited += waited
        self.tally += tally
        if step % self.every and step != self.steps:
            return
        self.flush()
        now = time.monotonic()
        seconds, steps = max(now - self.mark, 1e-9), max(step - self.mark_step, 1)
        rates = {"steps_per_second": steps / seconds, "data_wait_share": self.waited / seconds}
        rates |= {f"{what}_per_second": count / seconds for what, count in self._counts().items()}
        rates["filled_slots"], rates["filled_images"] = self.tally.filled
        rates["dropped"] = self.tally.dropped_share
        rates["learning_rate"] = learning_rate
        self.mark, self.mark_step = now, step
        self.waited, self.tally = 0.0, Tally()
        self.pending = (step, metrics, rates)

    def _counts(self) -> dict[str, int]:
        """What was trained on since the last mark, by all processes: each has an equal share of the rows."""
        tally, processes = self.tally, jax.process_count()
        counts = {"tokens": tally.slots, "images": tally.images, "queries": tally.queries}
        return {what: count * processes for what, count in counts.items()}

    def flush(self) -> None:
        """Write what is remembered, and the progress line."""
        if self.pending is None:
            return
        step, metrics, rates = self.pending
        self.pending = None
        values = {key: float(value) for key, value in jax.device_get(dict(metrics)).items()} | rates
        self.writer.write_scalars(step, values)
        self.lines.write(json.dumps({"step": step, **{k: round(v, 6) for k, v in values.items()}}) + "\n")
        pace = (time.monotonic() - self.start) / max(step - self.start_step, 1)
        parts = " ".join(f"{key} {values[key]:.3f}" for key in ("loss", "answer", "focal", "dice") if key in values)
        line = (
            f"{self.name} {step}/{self.steps}  {parts}  {rates['queries_per_second']:.0f} queries/s  "
            f"rows {rates['filled_slots']:.0%} full, images {rates['filled_images']:.0%}, "
            f"{rates['dropped']:.1%} dropped  {(self.steps - step) * pace:.0f} s left"
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
