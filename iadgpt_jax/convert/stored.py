"""Parameters on their way into a checkpoint and out of it, a chunk at a time, so that a 7B model needs no 7B memory.

Writing: a tree of `Pending` leaves goes through Orbax like any tree, but each leaf is computed chunk by chunk while it
is written. Reading: `open_params` gives a tree of `StoredLeaf`s that are sliced on disk. What lies there is an ordinary
checkpoint either way, which checkpoint/workdir.py restores onto any mesh.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from flax.traverse_util import unflatten_dict

from iadgpt_jax.bucket_files import place
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.digests import write_digests
from iadgpt_jax.errors import InputError

CHUNK_BYTES = 256 << 20
PARAMS = "params"  # the item of a step that holds them

Index = tuple[slice, ...]
Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Pending:
    """A leaf that is read when it is written or sliced. read(index) gives its values at slices over its whole shape;
    stacked: how many leading axes stack blocks, which are kept in chunks of their own."""

    shape: tuple[int, ...]
    dtype: np.dtype
    stacked: int
    read: Callable[[Index], np.ndarray]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __getitem__(self, index: Index) -> np.ndarray:
        return self.read(index)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.read((slice(None),) * len(self.shape)), dtype)


class PendingHandler(ocp.type_handlers.NumpyHandler):
    """Writes Pending leaves one after the other; at most `CHUNK_BYTES` (or one chunk) wait to reach the disk while the
    next chunk is read. Small chunks wait together, since every commit costs the disk a turn."""

    def __init__(self, progress: Progress, total: int):
        super().__init__(deepcopy_host_arrays=False)
        self.progress, self.total, self.done = progress, total, 0
        self._one_leaf_at_a_time = asyncio.Lock()
        self._waiting: deque[tuple[int, ts.Future]] = deque()

    async def _open_and_write(self, value: Pending, tspec, ts_context) -> None:
        mine = []
        async with self._one_leaf_at_a_time:
            store = await ts.open(ts.Spec(tspec), create=True, open=True, context=ts_context)
            for index in chunks_of(value.shape, store.chunk_layout.write_chunk.shape):
                values = value.read(index)
                while self._waiting and sum(size for size, _ in self._waiting) + values.nbytes > CHUNK_BYTES:
                    await self._waiting.popleft()[1]
                commit = store[index].write(values, can_reference_source_data_indefinitely=True).commit
                if values.nbytes >= CHUNK_BYTES // 16:
                    commit.force()  # begin now, while the next one is read
                self._waiting.append((values.nbytes, commit))
                mine.append(commit)
                self.done += values.nbytes
                self.progress(self.done, self.total)
        for commit in mine:
            await commit


class _Trees(ocp.PyTreeCheckpointHandler):
    """Writes checksums of its files, too, while the step still has its temporary name."""

    def finalize(self, directory) -> None:
        super().finalize(directory)
        write_digests(Path(directory))


def write_params(steps: str | Path, leaves: dict, progress: Progress = lambda done, total: None) -> None:
    """Write a nested dict of Pending leaves as the parameters of step 0 in a folder of steps."""
    flat = jax.tree.leaves(leaves)
    handler = PendingHandler(progress, sum(leaf.nbytes for leaf in flat))
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    registry.add(
        PARAMS, ocp.args.PyTreeSave,
        _Trees(  # weights hardly compress; trying would take longer than writing them
            use_compression=False,
            type_handler_registry=ocp.type_handlers.create_type_handler_registry((Pending, handler)),
        ),
    )  # fmt: skip
    save_args = jax.tree.map(lambda leaf: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES, shard_axes=_stack(leaf)), leaves)
    with ocp.CheckpointManager(Path(steps).absolute(), handler_registry=registry) as manager:
        manager.save(0, args=ocp.args.Composite(**{PARAMS: ocp.args.PyTreeSave(leaves, save_args=save_args)}))
        manager.wait_until_finished()


def _stack(leaf: Pending) -> tuple[int, ...]:
    return tuple(axis for axis in range(leaf.stacked) if leaf.shape[axis] > 1)


class StoredLeaf:
    """One parameter of a checkpoint on disk. Slicing it reads that part; `chunks` are the parts that cost least."""

    def __init__(self, store: ts.TensorStore):
        self._store = store
        self.shape, self.dtype = tuple(store.shape), np.dtype(store.dtype.numpy_dtype)

    def __getitem__(self, index) -> np.ndarray:
        return self._store[index].read().result()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[()], dtype)

    def chunks(self) -> Iterator[Index]:
        return chunks_of(self.shape, self._store.chunk_layout.read_chunk.shape)


def open_params(step: str | Path) -> dict:
    """The nested dict of StoredLeafs in a step's folder. Raises InputError where its files are missing or damaged."""
    directory = place(step) / PARAMS
    url = f"{directory}/" if is_bucket(step) else f"file://{directory.absolute()}/"
    try:
        described = json.loads((directory / "_METADATA").read_text())
        driver = "zarr3" if described.get("use_zarr3") else "zarr"
        paths = [tuple(key["key"] for key in leaf["key_metadata"]) for leaf in described["tree_metadata"].values()]
        context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
        base = {"driver": "ocdbt", "base": url}
        # "open": a step never changes, so that what was read once is not asked for again.
        more = {"driver": driver, "recheck_cached_data": "open"}
        specs = {path: more | {"kvstore": base | {"path": ".".join(path) + "/"}} for path in paths}
        opening = {path: ts.open(spec, read=True, open=True, context=context) for path, spec in specs.items()}
        return unflatten_dict({path: StoredLeaf(store.result()) for path, store in opening.items()})
    except Exception as error:  # damaged files come as whatever class JSON or TensorStore raise
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(
            f"the parameters in {step} cannot be read ({line[:200]}); give another step of that workdir"
        ) from error


def chunks_of(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[Index]:
    """Slices over `shape`, chunk by chunk in C order, the last ones of an axis cut short."""
    axes = (
        [slice(start, min(start + step, length)) for start in range(0, length, step)]
        for length, step in zip(shape, chunk, strict=True)
    )
    return itertools.product(*axes)
