"""Parameter trees from Hugging Face tensors and back, one leaf slice at a time.

A source is a mapping from hub names to anything that a tuple of slices cuts like an array. Leaves that stack many
blocks are filled block by block, and under a sharding every process reads only the slices its devices hold, so host
memory never carries much more than the part of one leaf. The way back takes each part of a leaf once and puts it
straight into the files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from iadgpt_jax.convert.axes import copy_into
from iadgpt_jax.convert.names import GATES, Entry, entries
from iadgpt_jax.convert.stored import Index, Pending, StoredLeaf, chunks_of
from iadgpt_jax.models.protocols import ModelConfig

Watch = Callable[[Iterable, int], Iterable]  # (items, how many) -> the same items, showing progress


def unwatched(items: Iterable, total: int) -> Iterable:
    return items


def params_from_hf(config: ModelConfig, source: Mapping, dtype, shardings=None, watch: Watch = unwatched) -> dict:
    """The nested parameter dict. dtype: of every leaf but the fusion gates, which are float32 and 0 where not given.

    shardings: a tree of jax.sharding.Sharding like the parameters, for arrays on devices; None: numpy arrays.
    watch: wraps the leaves, to say how far the work is.
    """
    shardings = flatten_dict(shardings, sep="/") if shardings is not None else None
    params = {}
    leaves = _leaves(config)
    for path, rows in watch(leaves.items(), len(leaves)):
        shape, kind = _leaf_shape(rows), np.float32 if rows[0].name == GATES else dtype

        def read(index, rows=rows, shape=shape, kind=kind):
            return _read_leaf(rows, shape, index, source, kind)

        if shardings is None:
            params[path] = read((slice(None),) * len(shape))
        else:
            params[path] = _on_devices(shape, shardings[path], read)
    return unflatten_dict(params, sep="/")


def _on_devices(shape: tuple[int, ...], sharding: jax.sharding.Sharding, read) -> jax.Array:
    """The array of which this process reads only what its devices hold: every part once, one part at a time."""
    holders: dict[tuple, tuple[Index, list[jax.Device]]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        part = tuple(span.indices(length) for span, length in zip(index, shape, strict=True))
        holders.setdefault(part, (index, []))[1].append(device)
    pieces = []
    for index, devices in holders.values():
        values = read(index)
        pieces += [jax.device_put(values, device) for device in devices]
        jax.block_until_ready(pieces[-len(devices) :])  # before the next part is read
    return jax.make_array_from_single_device_arrays(shape, sharding, pieces)


def pending_params(config: ModelConfig, source: Mapping, dtype) -> dict:
    """The nested dict as leaves that are read when a checkpoint writes them (convert/stored.py)."""
    leaves = {}
    for path, rows in _leaves(config).items():
        shape, kind = _leaf_shape(rows), np.dtype(np.float32 if rows[0].name == GATES else dtype)
        read = functools.partial(_read_leaf, rows, shape, source=source, dtype=kind)
        leaves[path] = Pending(shape, kind, len(rows[0].index), read)
    return unflatten_dict(leaves, sep="/")


def params_to_hf(
    config: ModelConfig, params: Mapping, targets: Mapping[str, np.ndarray], watch: Watch = unwatched
) -> None:
    """Fill `targets`, hub name -> writable array, from a tree of arrays or StoredLeafs, cast to the targets' dtypes.

    Each part of a leaf is fetched once: a chunk of a checkpoint, a block of an array (sharded over devices or not).

    Raises ValueError for a parameter that the table of names does not have: it would be missing in the export.
    """
    flat = flatten_dict(params, sep="/")
    if unnamed := sorted(set(flat) - set(_leaves(config))):
        raise ValueError(f"no hub name for {', '.join(unnamed[:4])}: add a line to the model's hub_names.py")
    parts = [
        (flat[path], rows, index)
        for path, rows in _leaves(config).items()
        if rows[0].name in targets
        for index in _parts(flat[path], rows)
    ]
    for leaf, rows, index in watch(parts, len(parts)):
        values, stacked = np.asarray(leaf[index]), len(rows[0].index)
        for row in rows:
            inside = [at - part.start for at, part in zip(row.index, index[:stacked], strict=True)]
            if all(0 <= at < length for at, length in zip(inside, values.shape, strict=False)):
                row.axes.write(targets[row.name], index[stacked:], values[tuple(inside)])


def _parts(leaf, rows: list[Entry]) -> Iterator[Index]:
    """How to cut a leaf: along its chunks where it lies on disk, else block by block."""
    if isinstance(leaf, StoredLeaf) and all(len(names) == 1 for names in rows[0].axes.ours):
        return leaf.chunks()
    stacked = len(rows[0].index)
    return chunks_of(leaf.shape, (1,) * stacked + tuple(leaf.shape[stacked:]))


def _leaves(config: ModelConfig) -> dict[str, list[Entry]]:
    leaves: dict[str, list[Entry]] = {}
    for entry in entries(config, gates=config.taps):
        leaves.setdefault(entry.path, []).append(entry)
    return leaves


def _leaf_shape(rows: list[Entry]) -> tuple[int, ...]:
    lead = tuple(max(axis) + 1 for axis in zip(*(row.index for row in rows), strict=True))
    return (*lead, *rows[0].axes.shape)


def _read_leaf(rows: list[Entry], shape, index, source: Mapping, dtype) -> np.ndarray:
    """The part of a leaf at `index` (slices over its whole shape)."""
    spans = [range(*part.indices(length)) for part, length in zip(index, shape, strict=True)]
    stacked = len(rows[0].index)
    out = np.empty([len(span) for span in spans], dtype)
    for row in rows:
        if all(at in span for at, span in zip(row.index, spans[:stacked], strict=True)):
            inside = tuple(span.index(at) for at, span in zip(row.index, spans[:stacked], strict=True))
            if row.name == GATES and GATES not in source:
                out[inside] = 0
            else:
                copy_into(out[inside], row.axes.read(source[row.name], tuple(index[stacked:])))
    return out
