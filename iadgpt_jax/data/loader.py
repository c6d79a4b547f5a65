"""Tasks -> sharded batches. A Grain pipeline of pure functions of (seed, index): the whole data state is one integer.

Instances are drawn by weight, each component shuffled anew every epoch; a step's rows are packed from a fixed number
of consecutive instances, so a restart at step n needs n and nothing else, on any number of processes.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import jax
import numpy as np

from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.fill import Filler, spare_indices
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.data.tasks.task import Task
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.rows import Rows


class Batch(NamedTuple):
    """One step's rows on the host (this process's share) and what they hold."""

    rows: Rows
    tally: Tally


SPARES = 16  # further instances kept ready for each row that may take some


class Batches:
    """Step -> `Batch`, by random access.

    The rows of a step are packed in groups of `group` rows, each from instances of its own, so they are the same
    whichever process packs them. With `group` 0 a group is a process's share of the step, packed with what was drawn
    for it and nothing else. Otherwise rows are filled up: with further instances where `top_up`, and with further
    blocks of instances that have some.
    """

    def __init__(
        self, parts: Sequence[tuple[Task, float]], encoder: Encoder, shape: RowShape, *, rows: int, instances: int,
        seed: int, process: int = 0, processes: int = 1, group: int = 0, top_up: bool = False,
    ):  # fmt: skip
        """`instances` a step are drawn for its `rows` rows; each process packs its own share of both."""
        if rows % processes or instances % processes:
            raise ValueError(f"{rows} rows and {instances} instances a step do not divide by {processes} processes")
        self.group = group or rows // processes
        groups = rows // self.group
        if groups * self.group != rows or groups % processes or instances % groups:
            raise InputError(
                f"{rows} rows and {instances} instances a step do not divide into groups of {self.group} rows for "
                f"{processes} processes: set config.rows, config.instances or config.pack.group"
            )
        self.shape, self.encoder, self.filled = shape, encoder, group > 0
        mixed = _mixed(parts, seed)
        # Topping up draws from epochs of its own, so that those of `mixed` still visit every instance once.
        self.spares = _mixed(parts, seed + 500) if top_up else None
        packed = mixed.batch(instances // groups, batch_fn=list).map_with_index(self._pack)
        # Process p takes the p-th part of every step's groups, so the set of instances per step never changes.
        self.dataset = packed.batch(groups // processes, batch_fn=_joined)[process::processes]

    def _pack(self, number: int, instances: list[Instance]) -> Batch:
        """Group `number` of all steps' groups in a row."""
        filler = Filler(self.encoder.grow, self._spares(number)) if self.filled else None
        encodeds = [self.encoder(instance) for instance in instances]
        packed = pack(encodeds, self.group, self.shape, self.encoder.config.vision, filler)
        return Batch(packed.rows, packed.tally)

    def _spares(self, number: int) -> Iterator[Encoded]:
        room = SPARES * self.group if self.spares is not None else 0
        return (self.encoder(self.spares[index]) for index in spare_indices(number, room))

    def __getitem__(self, step: int) -> Batch:
        return self.dataset[step]

    def iterate(self, start: int, stop: int, ahead: int = 4, threads: int = 1) -> Iterator[Batch]:
        """The batches of steps start..stop-1, made `ahead` of use by `threads` background threads."""
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        return iter(self.dataset[start:stop].to_iter_dataset(options))


def _mixed(parts: Sequence[tuple[Task, float]], seed: int) -> grain.MapDataset:
    """Instances drawn by weight without end."""
    streams = [
        grain.MapDataset.range(len(task)).seed(seed + 1000 * i).shuffle().repeat().random_map(task.instance)
        for i, (task, _) in enumerate(parts)
    ]
    return grain.MapDataset.mix(streams, weights=[weight for _, weight in parts])


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *(batch.rows for batch in batches))
    return Batch(rows, functools.reduce(operator.add, (batch.tally for batch in batches)))


def put(rows: Rows, sharding: jax.sharding.Sharding) -> Rows:
    """Host rows (this process's share) -> global arrays sharded over their first axis."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
