"""Parameter trees from Hugging Face tensors and back, one leaf slice at a time.

A source is a mapping from hub names to anything that a tuple of slices cuts like an array. Leaves that stack many
blocks are filled block by block, and under a sharding every process reads only the slices its devices hold, so host
memory never carries much more than the part of one leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from iadgpt_jax.convert.names import GATES, Entry, entries
from iadgpt_jax.models.config import ModelConfig


def leaf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """"/"-joined path -> shape of every leaf of the model's parameter tree."""
    return {path: _leaf_shape(rows) for path, rows in _leaves(config).items()}


Watch = Callable[[Iterable, int], Iterable]  # hands items through, of which there are so many: iadgpt_jax.progress


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
            params[path] = jax.make_array_from_callback(shape, shardings[path], read)
            params[path].block_until_ready()  # hold one leaf's host copy at a time
    return unflatten_dict(params, sep="/")


def hf_tensors(config: ModelConfig, params: Mapping, gates: bool) -> Iterator[tuple[Entry, np.ndarray]]:
    """(entry, tensor in Hugging Face's form) for every tensor of a checkpoint, in file order, in the tree's dtypes.

    Works on arrays sharded over this process's devices too: each block is fetched when its turn comes.
    """
    flat = flatten_dict(params, sep="/")
    for entry in entries(config, gates):
        yield entry, entry.layout.to_hf(np.asarray(flat[entry.path][entry.index]))


def _leaves(config: ModelConfig) -> dict[str, list[Entry]]:
    leaves: dict[str, list[Entry]] = {}
    for entry in entries(config, gates=config.taps):
        leaves.setdefault(entry.path, []).append(entry)
    return leaves


def _leaf_shape(rows: list[Entry]) -> tuple[int, ...]:
    lead = tuple(max(axis) + 1 for axis in zip(*(row.index for row in rows), strict=True))
    return (*lead, *rows[0].layout.shape)


def _read_leaf(rows: list[Entry], shape, index, source: Mapping, dtype) -> np.ndarray:
    """The part of a leaf at `index` (slices over its whole shape)."""
    spans = [range(*part.indices(length)) for part, length in zip(index, shape, strict=True)]
    stacked = len(rows[0].index)
    out = np.empty([len(span) for span in spans], dtype)
    for row in rows:
        if all(at in span for at, span in zip(row.index, spans[:stacked], strict=True)):
            place = tuple(span.index(at) for at, span in zip(row.index, spans[:stacked], strict=True))
            if row.name == GATES and GATES not in source:
                out[place] = 0
            else:
                out[place] = row.layout.read(source[row.name], tuple(index[stacked:]))
    return out
