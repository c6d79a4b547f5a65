"""A trace of chosen steps for XProf or TensorBoard's Profile tab, written into the workdir."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

from iadgpt_jax.bucket_files import Mirror


class Profile:
    """Traces steps first..first+steps-1, counted from 1 as in the log; none with `steps` 0."""

    def __init__(self, workdir: str, first: int, steps: int):
        self.mirror, self.first, self.last = Mirror(workdir), first, first + steps - 1
        self.running = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around the work of step `number`. Starting in the middle (a run that goes on) traces what is left."""
        if self.first <= number <= self.last and not self.running:
            jax.profiler.start_trace(str(self.mirror.folder))
            self.running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def after(self, number: int, outputs) -> None:
        """After step `number`, whose `outputs` are waited for if it is the last one traced."""
        if self.running and number >= self.last:
            jax.block_until_ready(outputs)
            self.close()

    def close(self) -> None:
        if self.running:
            self.running = False
            jax.profiler.stop_trace()
            self.mirror.copy()
