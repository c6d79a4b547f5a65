"""What training says: TensorBoard through clu, metrics.jsonl beside it, and a progress line with rate and time left."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import jax


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
        self.waited = 0.0

    def step(self, step: int, metrics: Mapping[str, jax.Array], extra: Mapping[str, float], waited: float) -> None:
        """After step `step` (1-based): remember its metrics when it is due; write those remembered before."""
        self.waited += waited
        if step % self.every and step != self.steps:
            return
        self.flush()
        now = time.monotonic()
        seconds, steps = max(now - self.mark, 1e-9), max(step - self.mark_step, 1)
        rates = {"steps_per_second": steps / seconds, "data_wait_share": self.waited / seconds}
        counted = {key: value for key, value in extra.items() if key != "learning_rate"}
        rates |= {f"{key}_per_second": value * steps / seconds for key, value in counted.items()}
        rates["learning_rate"] = extra["learning_rate"]
        self.mark, self.mark_step, self.waited = now, step, 0.0
        self.pending = (step, metrics, rates)

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
            f"{self.name} {step}/{self.steps}  {parts}  {rates['images_per_second']:.0f} images/s  "
            f"{(self.steps - step) * pace:.0f} s left"
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
