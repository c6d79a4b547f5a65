"""Tasks -> sharded batches. A Grain pipeline of pure functions of (seed, index): the whole data state is one integer.

A mixture's shares are shares of questions; data/mix.py finds at which weights to draw instances for them. Each task is
shuffled anew every epoch; a step's rows are packed from a fixed number of consecutive instances, so a restart at step n
needs n and nothing else, on any number of processes.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import jax
import numpy as np

from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.fill import Filler, fits, spare_indices
from iadgpt_jax.data.mix import weights_of_grown, weights_of_ungrown
from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.pack import pack
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.shorten import encode_to_fit
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.data.tasks.augmentation import Augmentation
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.data.tasks.task import Task
from iadgpt_jax.data.tasks.task_source import warn
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.rows import Rows


class Batch(NamedTuple):
    """One step's rows on the host (this process's share) and what they hold."""

    rows: Rows
    tally: Tally


SPARES = 16  # further instances kept ready for each row that is filled up


class Batches:
    """Step -> `Batch`, by random access.

    The rows of a step are packed in groups of `group` rows, each from instances of its own, so they are the same
    whichever process packs them. With `group` 0 a group is a process's share of the step, packed with what was drawn
    for it and nothing else. Otherwise rows are filled up: with further blocks of instances that have some, and with
    further instances.
    """

    def __init__(
        self, parts: Sequence[tuple[Task, float]], encoder: Encoder, shape: RowShape, *, rows: int, instances: int,
        seed: int, process: int = 0, processes: int = 1, group: int = 0,
    ):  # fmt: skip
        """`parts`: tasks, and the share of all questions that each is to have. `instances` a step are drawn for its
        `rows` rows, or fewer where rows that are filled up do not hold as many; each process packs its own share.
        `sample`: what some rows hold that were filled up to find how to draw; None where they are not."""
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
        tasks, shares = zip(*parts, strict=True)
        self.parts, self.sample = parts, None
        # Filling up draws from epochs of its own, so that those of the drawn ones still visit every instance once.
        streams, spares = _streams(tasks, seed), _streams(tasks, seed + 500)

        def draw(part: int, position: int, spare: bool) -> Encoded:
            return self._encoded((spares if spare else streams)[part][position])

        if self.filled:
            room = SPARES * self.group
            drawn = weights_of_grown(shares, draw, encoder.grow, shape, self.group, instances // groups, room)
            weights, self.instances, self.sample = drawn.weights, drawn.instances * groups, drawn.sample
        else:
            weights, self.instances = weights_of_ungrown(shares, draw), instances
        self.spares = grain.MapDataset.mix(spares, weights=weights)
        mixed = grain.MapDataset.mix(streams, weights=weights)
        self.packed = mixed.batch(self.instances // groups, batch_fn=list).map_with_index(self._pack)
        # Process p takes the p-th part of every step's groups, so the set of instances per step never changes.
        self.dataset = self.packed.batch(groups // processes, batch_fn=_joined)[process::processes]

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that are drawn."""
        return [task.name for task, _ in self.parts]

    def _encoded(self, instance: Instance) -> Encoded:
        return encode_to_fit(self.encoder, instance, lambda encoded: fits(encoded, self.shape))

    def _pack(self, number: int, instances: list[Instance]) -> Batch:
        """Group `number` of all steps' groups in a row."""
        filler = Filler(self.encoder.grow, self._spares(number)) if self.filled else None
        encodeds = [self._encoded(instance) for instance in instances]
        packed = pack(encodeds, self.group, self.shape, self.encoder.config.vision, filler)
        return Batch(packed.rows, packed.tally)

    def _spares(self, number: int) -> Iterator[Encoded]:
        room = SPARES * self.group
        return (self._encoded(self.spares[index]) for index in spare_indices(number, room))

    def measure(self, groups: int) -> Tally:
        """What the first `groups` groups of rows hold."""
        return functools.reduce(operator.add, (self.packed[number].tally for number in range(groups)))

    def __getitem__(self, step: int) -> Batch:
        return self.dataset[step]

    def iterate(self, start: int, stop: int, ahead: int = 4, threads: int = 1) -> Iterator[Batch]:
        """The batches of steps start..stop-1, made `ahead` of use by `threads` background threads."""
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        return iter(self.dataset[start:stop].to_iter_dataset(options))


def _streams(tasks: Sequence[Task], seed: int) -> list[grain.MapDataset]:
    """Each task's instances without end, shuffled anew every epoch."""
    return [
        grain.MapDataset.range(len(task)).seed(seed + 1000 * i).shuffle().repeat().random_map(task.instance)
        for i, task in enumerate(tasks)
    ]


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *(batch.rows for batch in batches))
    return Batch(rows, functools.reduce(operator.add, (batch.tally for batch in batches)))


def open_batches(
    config, source: Source, encoder: Encoder, *, process: int = 0, processes: int = 1,
    say: Callable[[str], None] = warn,
) -> Batches:  # fmt: skip
    """The batches of the stage that `config` (configs/common.py) describes, for one of its processes. say: gets a line
    for what tasks leave out."""
    return Batches(
        build(source, config.mixture, categories_of(config), Augmentation(**config.augment), say),
        encoder,
        RowShape.of(config.row),
        rows=config.rows,
        instances=config.instances,
        seed=config.seed,
        process=process,
        processes=processes,
        group=config.pack.group,
    )


def categories_of(config) -> list[str]:
    """Those of config.categories; none: all of the source."""
    return [name for name in config.categories.split(",") if name]


def measure_mix(config, source: Source, encoder: Encoder, groups: int) -> Tally:
    """What the first `groups` groups of rows hold that training with `config` packs: a task's share of questions and of
    answer tokens (`Tally.mix`), how full rows are, what is dropped and cut. Without a model, on one process."""
    return open_batches(config, source, encoder).measure(groups)


def put(rows: Rows, sharding: jax.sharding.Sharding) -> Rows:
    """Host rows (this process's share) -> global arrays sharded over their first axis."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
