"""Tasks -> sharded batches. A Grain pipeline of pure functions of (seed, index): the whole data state is one integer.

Instances are drawn by weight, each component shuffled anew every epoch; a step's rows are packed from a fixed number
of consecutive instances, so a restart at step n needs n and nothing else, on any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import grain
import jax
import numpy as np

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.models.iadgpt import Rows


class Task(Protocol):
    """`len(task)` instances per epoch; `instance(index, rng)` is a pure function of its arguments."""

    def __len__(self) -> int: ...

    def instance(self, index: int, rng: np.random.Generator) -> Instance: ...


class Batch(NamedTuple):
    """One step's rows on the host (this process's share) and what they hold."""

    rows: Rows
    tally: Tally


class Batches:
    """Step -> `Batch`, by random access."""

    def __init__(
        self, parts: Sequence[tuple[Task, float]], encoder: Encoder, shape: RowShape, *, rows: int, instances: int,
        seed: int, process: int = 0, processes: int = 1,
    ):  # fmt: skip
        """`instances` per step are packed into `rows` rows; each process packs its own share of both."""
        if rows % processes or instances % processes:
            raise ValueError(f"{rows} rows and {instances} instances a step do not divide by {processes} processes")
        self.shape, self.vision = shape, encoder.config.vision
        self.rows = rows // processes
        streams = [
            grain.MapDataset.range(len(task)).seed(seed + 1000 * i).shuffle().repeat().random_map(task.instance)
            for i, (task, _) in enumerate(parts)
        ]
        mixed = grain.MapDataset.mix(streams, weights=[weight for _, weight in parts])
        per_process = instances // processes
        # Process p takes the p-th part of every step's instances, so the set of instances per step never changes.
        grouped = mixed.batch(per_process, batch_fn=list)[process::processes]
        self.dataset = grouped.map(lambda group: self._pack([encoder(instance) for instance in group]))

    def _pack(self, encodeds) -> Batch:
        packed = pack(encodeds, self.rows, self.shape, self.vision)
        return Batch(packed.rows, packed.tally)

    def __getitem__(self, step: int) -> Batch:
        return self.dataset[step]

    def iterate(self, start: int, stop: int, ahead: int = 4, threads: int = 1) -> Iterator[Batch]:
        """The batches of steps start..stop-1, made `ahead` of use by `threads` background threads."""
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        return iter(self.dataset[start:stop].to_iter_dataset(options))


def put(rows: Rows, sharding: jax.sharding.Sharding) -> Rows:
    """Host rows (this process's share) -> global arrays sharded over their first axis."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
