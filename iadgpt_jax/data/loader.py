"""Tasks -> sharded batches. A Grain pipeline of pure functions of (seed, index): the whole data state is one integer.

A mixture's shares are shares of questions; data/mix.py finds at which weights to draw instances for them. Each task is
shuffled anew every epoch; a step's rows are packed from a fixed number of consecutive instances, so a restart at step n
needs n and nothing else, on any number of processes.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import grain
import jax
import numpy as np

from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.fill import Filler, fits, spare_indices
from iadgpt_jax.data.mix import weights_of_grown, weights_of_ungrown
from iadgpt_jax.data.mixture import Part, build_parts, shares_of
from iadgpt_jax.data.pack import Packed, pack
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.run_sources import RunSource
from iadgpt_jax.data.shorten import encode_to_fit
from iadgpt_jax.data.sources.quarantine import Quarantine, QuarantineLimit, read_in, replaced_in
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.data.tasks.augmentation import Augmentation
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.data.tasks.task import Task
from iadgpt_jax.data.tasks.task_source import warn
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.rows import Rows


class Batch(NamedTuple):
    """One step's rows on the host (this process's share), what they hold, and the records that could not be decoded
    and were replaced for them: (key, what is wrong) of each."""

    rows: Rows
    tally: Tally
    quarantined: tuple[tuple[str, str], ...] = ()


STEPS = 2**40  # as good as without end
SPARES = 16  # further instances kept ready for each row that is filled up


class Batches:
    """Step -> `Batch`, by random access.

    The rows of a step are packed in groups of `group` rows, each from instances of its own, so they are the same
    whichever process packs them. With `group` 0 a group is a process's share of the step, packed with what was drawn
    for it and nothing else. Otherwise rows are filled up: with further blocks of instances that have some, and with
    further instances.
    """

    def __init__(
        self, parts: Sequence[Part | tuple[Task, float]], encoder: Encoder, shape: RowShape, *, rows: int,
        instances: int, seed: int, process: int = 0, processes: int = 1, group: int = 0,
        limit: QuarantineLimit | None = None, say: Callable[[str], None] = warn,
    ):  # fmt: skip
        """`parts`: tasks, and the share of all questions that each is to have. `instances` a step are drawn for its
        `rows` rows, or fewer where rows that are filled up do not hold as many; each process packs its own share.
        `limit`: of records that cannot be decoded; `say` gets a line for each.
        `sample`: what some rows hold that were filled up to find how to draw; None where they are not."""
        if rows % processes or instances % processes:
            raise ValueError(f"{rows} rows and {instances} instances a step do not divide by {processes} processes")
        self.group = group or rows // processes
        self.groups = groups = rows // self.group
        if groups * self.group != rows or groups % processes or instances % groups:
            raise InputError(
                f"{rows} rows and {instances} instances a step do not divide into groups of {self.group} rows for "
                f"{processes} processes: set config.rows, config.instances or config.pack.group"
            )
        self.shape, self.encoder, self.filled = shape, encoder, group > 0
        self.parts, self.sample = [Part(*part) for part in parts], None
        shares = [part.share for part in self.parts]
        # Filling up draws from epochs of its own, so that those of the drawn ones still visit every instance once.
        self.streams, spares = _streams(self.parts, seed), _streams(self.parts, seed + 500)

        def draw(part: int, position: int, spare: bool) -> Encoded:
            return self._encoded((spares if spare else self.streams)[part][position])

        self.limit, self.say = limit, say
        with replaced_in() as met:
            if self.filled:
                room = SPARES * self.group
                drawn = weights_of_grown(shares, draw, encoder.grow, shape, self.group, instances // groups, room)
                weights, self.instances, self.sample = drawn.weights, drawn.instances * groups, drawn.sample
            else:
                weights, self.instances = weights_of_ungrown(shares, draw), instances
        self._count_quarantined([(key, reason) for key, (reason, _) in met.items()])
        self.spares = grain.MapDataset.mix(spares, weights=weights)
        self.drawn = grain.MapDataset.mix(self.streams, weights=weights)
        self.drawn_per_group = self.instances // groups
        # Process p takes the p-th part of every step's groups, so the set of instances per step never changes.
        steps = grain.MapDataset.range(STEPS).batch(groups // processes, batch_fn=list)[process::processes]
        self.dataset = steps.map(self._step)

    @property
    def tasks(self) -> list[str]:
        """The names of the parts that are drawn: of tasks, and of their sources where there are several."""
        return [part.name for part in self.parts]

    def _encoded(self, instance: Instance) -> Encoded:
        return encode_to_fit(self.encoder, instance, lambda encoded: fits(encoded, self.shape))

    def packed(self, number: int) -> tuple[Packed, tuple[tuple[str, str], ...]]:
        """Group `number` of all steps' groups in a row, and the records that were replaced for it."""
        with replaced_in() as met:
            first = number * self.drawn_per_group
            encodeds = [self._encoded(self.drawn[first + i]) for i in range(self.drawn_per_group)]
            filler = Filler(self.encoder.grow, self._spares(number)) if self.filled else None
            packed = pack(encodeds, self.group, self.shape, self.encoder.config.vision, filler)
        packed.tally = replace(packed.tally, quarantined=sum(times for _, times in met.values()))
        return packed, tuple((key, reason) for key, (reason, _) in met.items())

    def _step(self, numbers: list[int]) -> Batch:
        """The rows of some groups together."""
        groups = [self.packed(int(number)) for number in numbers]
        return _joined([Batch(packed.rows, packed.tally, replaced) for packed, replaced in groups])

    def _spares(self, number: int) -> Iterator[Encoded]:
        room = SPARES * self.group
        return (self._encoded(self.spares[index]) for index in spare_indices(number, room))

    def records(self, step: int) -> tuple[str, ...]:
        """The names of the records that the rows of a step, of all processes, are made of: found by making the rows
        again."""
        with read_in() as read:
            for number in range(step * self.groups, (step + 1) * self.groups):
                self.packed(number)
        return tuple(read)

    def measure(self, groups: int) -> Tally:
        """What the first `groups` groups of rows hold."""
        return functools.reduce(operator.add, (self.packed(number)[0].tally for number in range(groups)))

    def __getitem__(self, step: int) -> Batch:
        return self.dataset[step]

    def iterate(self, start: int, stop: int, ahead: int = 4, threads: int = 1, processes: int = 0) -> Iterator[Batch]:
        """The batches of steps start..stop-1, made `ahead` of use by `threads` background threads, or by as many in
        each of `processes` background processes: the same batches in the same order.

        Raises:
          InputError: more records cannot be decoded than may.
        """
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        dataset = self.dataset[start:stop].to_iter_dataset(options)
        if processes:
            dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(processes, per_worker_buffer_size=ahead))
        stream = iter(dataset)
        try:
            for batch in stream:
                self._count_quarantined(batch.quarantined)
                yield batch
        finally:
            stream.close()

    def _count_quarantined(self, found: Sequence[tuple[str, str]]) -> None:
        if self.limit and found:
            for line in self.limit.add(dict(found)):
                self.say(line)

    def __getstate__(self) -> dict[str, Any]:  # what workers need: saying and counting is this process's
        return {**self.__dict__, "limit": None, "say": None}


def _streams(parts: Sequence[Part], seed: int) -> list[grain.MapDataset]:
    """Each part's instances without end, shuffled anew every epoch."""
    return [
        grain.MapDataset.range(len(part.task)).seed(seed + 1000 * i).shuffle().repeat().random_map(_Made(part))
        for i, part in enumerate(parts)
    ]


@dataclass(frozen=True)
class _Made:
    """(index, random generator) -> the instance of a part's task, under the part's name."""

    part: Part

    def __call__(self, index: int, rng: np.random.Generator) -> Instance:
        instance = self.part.task.instance(index, rng)
        return replace(instance, task=self.part.name) if self.part.source else instance


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *(batch.rows for batch in batches))
    replaced = dict(pair for batch in batches for pair in batch.quarantined)
    return Batch(rows, functools.reduce(operator.add, (batch.tally for batch in batches)), tuple(replaced.items()))


def open_batches(
    config, sources: Sequence[RunSource], encoder: Encoder, *, process: int = 0, processes: int = 1,
    say: Callable[[str], None] = warn,
) -> Batches:  # fmt: skip
    """The batches of the stage that `config` (configs/common.py) describes, for one of its processes. sources:
    those that `open_sources` opened. say: gets a line for what tasks leave out."""
    sources = [replace(one, source=Quarantine(one.source)) for one in sources]
    shares = shares_of(config.mixture, config.questions, config.replay)
    return Batches(
        build_parts(sources, config.mixture, shares, Augmentation(**config.augment), say),
        encoder,
        RowShape.of(config.row),
        rows=config.rows,
        instances=config.instances,
        seed=config.seed,
        process=process,
        processes=processes,
        group=config.pack.group,
        limit=QuarantineLimit(sum(len(one.source) for one in sources), config.max_quarantined),
        say=warn,  # on every process: which records are broken, each finds out for itself
    )


def put(rows: Rows, sharding: jax.sharding.Sharding) -> Rows:
    """Host rows (this process's share) -> global arrays sharded over their first axis."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
