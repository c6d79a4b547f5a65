"""What training says: TensorBoard, metrics.jsonl beside it, and a progress line with rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from iadgpt_jax import voice
from iadgpt_jax.bucket_files import place
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.models.answer_loss import means_of_words
from iadgpt_jax.train.board import Board
from iadgpt_jax.train.lines import lines_at
from iadgpt_jax.train.speed import Speed
from iadgpt_jax.train.sums import ProcessSums
from iadgpt_jax.train.watch import Recompilations, device_memory


class Due(NamedTuple):
    """A step to be written, as it is known when it is dispatched. sums: of all processes, what rows held and how long
    was waited for them, since the due step before; and what they have held in the run (`TrainLog._numbers`)."""

    step: int
    steps: int
    metrics: Mapping[str, jax.Array]
    sums: jax.Array | np.ndarray


class TrainLog:
    """Collects a step's metrics as they are on the device and reads them an interval later, so nothing waits.

    Time is taken when metrics have arrived, for then their step is done, however far ahead steps are dispatched. Every
    count is of all processes, which is why every process keeps a log; only the main one writes. Memory is that of
    the main process's fullest device. The first step, which compiles, is in no rate.
    """

    def __init__(
        self, workdir: str | Path, name: str, first: int, steps: int, every: int, speed: Speed,
        compiled: Recompilations, tasks: Sequence[str], mesh: Mesh, shares: int, is_main_process: bool = True,
    ):  # fmt: skip
        """tasks: the names of those in the mixture. shares: into how many equal ones the processes split a step's rows;
        processes that hold the same rows all count them."""
        self.name, self.first, self.steps, self.every = name, first, steps, every
        self.speed, self.compiled, self.tasks = speed, compiled, tuple(tasks)
        self.processes = jax.process_count()
        self.copies = self.processes / shares
        self.sum = ProcessSums(mesh) if self.processes > 1 else lambda numbers, after: np.asarray(numbers)
        self.is_main_process = is_main_process
        if is_main_process:
            self.board = Board(workdir, voice.warn)
            self.lines = lines_at(place(workdir) / "metrics.jsonl", first, voice.say)
        self.pending: Due | None = None
        self.own, self.trained = Tally(), Tally()  # in this run: of this process, and of all up to the last line
        self._begin(first)

    def _begin(self, step: int) -> None:
        self.start = self.mark = time.monotonic()
        self.start_step = self.last_due = step
        self.tally, self.waited = Tally(), 0.0

    def step(self, step: int, metrics: Mapping[str, jax.Array], tally: Tally, waited: float) -> None:
        """After step `step` (1-based), on every process: remember its metrics when it is due; write those remembered
        before.

        `tally`: what this process's rows held. `waited`: seconds spent waiting for them.
        """
        self.waited += waited
        self.tally += tally
        self.own += tally
        if step % self.every == 0 or step == self.steps:
            self.flush()
            sums = self.sum(self._numbers(), metrics["loss"])
            self.pending = Due(step, step - self.last_due, metrics, sums)
            self.last_due, self.tally, self.waited = step, Tally(), 0.0
        elif step == self.first + 1:
            jax.block_until_ready(metrics)  # this once, so that the clock starts when the device has warmed up
            self._begin(step)

    def _numbers(self) -> np.ndarray:
        return np.array([*self.tally.numbers(self.tasks), *self.own.numbers(self.tasks), self.waited], np.float64)

    def _summed(self, due: Due) -> tuple[Tally, float]:
        """What all rows have held since the due step before, and how long a process waited for them on average."""
        numbers = np.asarray(jax.device_get(due.sums), np.float64)
        counts = (numbers[:-1] / self.copies).reshape(2, -1)
        interval, self.trained = (Tally.of_numbers(self.tasks, part.round().astype(int).tolist()) for part in counts)
        return interval, numbers[-1] / self.processes

    def _measured(self, due: Due) -> dict[str, float]:
        """Rates up to now, when the step is done, and what else the host knows."""
        tally, waited = self._summed(due)
        now = time.monotonic()
        seconds, self.mark = max(now - self.mark, 1e-9), now
        values = {"steps_per_second": due.steps / seconds, "data_wait_share": min(waited / seconds, 1.0)}
        values |= self.speed.rates(tally, seconds)
        values["filled_slots"], values["filled_images"] = tally.filled
        values["dropped"], values["cut"] = tally.dropped_share, tally.cut_share
        values["quarantined"] = tally.quarantined / due.steps
        values["questions_per_step"] = tally.queries / due.steps
        for task, (questions, answer_tokens) in tally.mix(self.tasks).items():
            values[f"mix/{task}/questions"], values[f"mix/{task}/answer_tokens"] = questions, answer_tokens
        values["recompilations"] = self.compiled.count
        return values | device_memory()

    def saving(self) -> None:
        """Before a checkpoint: write all, so that a run killed now has its log up to the step it goes on from."""
        self.flush()
        if self.is_main_process:
            self.lines.flush()
            self.board.flush()

    def flush(self) -> None:
        """Write what is remembered, and the progress line."""
        if self.pending is None:
            return
        due, self.pending = self.pending, None
        if not self.is_main_process:
            return
        step = due.step
        values = {key: float(value) for key, value in jax.device_get(dict(due.metrics)).items()}
        values = means_of_words(values) | self._measured(due)
        self.board.write(step, values)
        self.lines.write({"step": step, **{k: round(v, 6) for k, v in values.items()}})
        pace = (time.monotonic() - self.start) / max(step - self.start_step, 1)
        parts = " ".join(f"{key} {values[key]:.3f}" for key in ("loss", "answer", "focal", "dice") if key in values)
        used = f"{values['mfu']:.1%} MFU" if "mfu" in values else f"{values['model_teraflops_per_second']:.3g} TFLOP/s"
        line = (
            f"{self.name} {step}/{self.steps}  {parts}  {values['queries_per_second']:.3g} queries/s, {used}  "
            f"rows {values['filled_slots']:.0%}, images {values['filled_images']:.0%} full, "
            f"{values['dropped']:.1%} dropped  {(self.steps - step) * pace:.0f} s left"
        )
        if voice.is_quiet():
            return
        clear = "\r\033[K" if sys.stderr.isatty() else "\r"
        end = "\n" if step >= self.steps or not voice.rewrites(sys.stderr) else ""
        sys.stderr.write((clear if voice.rewrites(sys.stderr) else "") + line + end)
        sys.stderr.flush()

    def close(self) -> None:
        self.flush()
        if not self.is_main_process:
            return
        if self.trained.queries:
            voice.say(f"{self.name} since step {self.first}: {describe(self.trained)}")
        self.board.close()
        self.lines.close()


def describe(tally: Tally) -> str:
    """How many questions there are, what part of them and of the answer tokens each task has, how full rows are, and
    what was left out."""
    mix = ", ".join(f"{task} {q:.1%} ({t:.1%})" for task, (q, t) in tally.mix().items())
    replaced = f", {tally.quarantined:,} images replaced that cannot be decoded" if tally.quarantined else ""
    return (
        f"{tally.queries:,} questions, of them (and of the {tally.targets:,} answer tokens) {mix}; rows "
        f"{tally.filled[0]:.0%}, images {tally.filled[1]:.0%} full, {tally.dropped_share:.2%} of instances dropped, "
        f"texts of {tally.cut_share:.2%} cut (config.row holds no more){replaced}"
    )
