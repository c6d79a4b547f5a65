"""When training saves, and what becomes of a save that fails: by steps and by time, and never a half one.

A disk without room is found out in the background, while later steps run. What was half written is removed, and one
process by itself tries once more with the state it has now; otherwise the run ends with a line, its last whole
checkpoint as it was.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from iadgpt_jax.bucket_files import place
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.checkpoint.files import STEPS, finished_steps
from iadgpt_jax.checkpoint.workdir import Checkpoints
from iadgpt_jax.distributed import is_main_process
from iadgpt_jax.errors import InputError
from iadgpt_jax.train.guard import AHEAD
from iadgpt_jax.train.resume import save_state
from iadgpt_jax.train.state import TrainState

UNFINISHED = "*.orbax-checkpoint-tmp*"  # a step that Orbax has not finished


class SaveTimes:
    """Whether so many `minutes` have passed since the last save; 0: never.

    Of several processes the first one's clock counts. All learn of it AHEAD steps later, from a sum that the device
    computes, so that all save after the same step and none waits.
    """

    def __init__(self, minutes: float, sums: Callable[[np.ndarray, jax.Array], jax.Array] | None = None):
        """sums: of all processes (train/sums.py); None: there is one."""
        self.seconds, self.sums = 60 * minutes, sums
        self.told: deque[jax.Array] = deque()
        self.saved()

    def saved(self) -> None:
        self.since = time.monotonic()
        self.told.clear()

    def due(self, after: jax.Array) -> bool:
        """Every process asks after every step. after: something that the step computes, float32[]."""
        if not self.seconds:
            return False
        late = time.monotonic() - self.since >= self.seconds
        if self.sums is None:
            return late
        self.told.append(self.sums(np.array([float(late and is_main_process())]), after))
        return len(self.told) > AHEAD and float(np.asarray(jax.device_get(self.told.popleft()))[0]) > 0


class Saver:
    """Saves states into a workdir's checkpoints."""

    def __init__(self, checkpoints: Checkpoints, workdir: str | Path, say: Callable[[str], None]):
        self.checkpoints, self.workdir, self.say = checkpoints, place(workdir), say
        self._told = self._halves = False

    def save(self, state: TrainState, data: int) -> None:
        """Begin to save the state under its step; what failed of the save before is told now.

        Raises:
          InputError: nothing can be saved.
        """
        try:
            save_state(self.checkpoints, state, data)
        except (OSError, ValueError) as error:
            self._failed(error, again=jax.process_count() == 1)
            self.say("what could not be saved is tried again with the newest state")
            try:
                save_state(self.checkpoints, state, data)
                self.checkpoints.wait()
            except (OSError, ValueError) as more:
                self._failed(more)
            self.say(f"step {data} is saved")

    def finish(self) -> None:
        """Wait for what is being saved. Raises InputError as `save` does."""
        try:
            self.checkpoints.wait()
        except (OSError, ValueError) as error:
            self._failed(error)

    def close(self) -> None:
        """Close the checkpoints at the end of a run, whatever it ended with; a save that failed is told."""
        try:
            self.checkpoints.close()
        except (OSError, ValueError) as error:
            if not self._told:
                self.say(f"warning: {self._line(error)}")
            self._halves = True
        if self._halves:  # those that other threads still wrote when the first of them failed
            self._remove_halves()

    def _failed(self, error: Exception, again: bool = False) -> None:
        """Say what is wrong, or raise it unless it is tried `again`; remove what is half written."""
        line = self._line(error)
        self._halves = True
        self._remove_halves()
        self.checkpoints.look_again()
        if not again:
            self._told = True
            raise InputError(line) from error
        self.say(f"warning: {line}")

    def _line(self, error: Exception) -> str:
        """Raises what is no fault of the disk as it is."""
        if isinstance(error, ValueError) and "os_error_code" not in str(error):
            raise error
        found = re.search(r"([^:]+) \[os_error_code", str(error))
        reason = found[1].strip() if found else getattr(error, "strerror", None) or str(error)
        whole = finished_steps(self.workdir)
        last = f"the last whole one is step {whole[-1]}" if whole else "there is no whole one yet"
        return (
            f"a checkpoint cannot be written into {self.workdir} ({reason}); {last}: make room, and the same command "
            "goes on from there"
        )

    def _remove_halves(self) -> None:
        if is_main_process() and not is_bucket(self.workdir):  # there the next run removes them, as Orbax does
            for path in (self.workdir / STEPS).glob(UNFINISHED):
                shutil.rmtree(path, ignore_errors=True)
