"""Weights in safetensors files: read one file or many under an index as one mapping, write the same in parts.

Reading checks everything that can be known without the values (files, index, names, dtypes) when it opens, and maps
files into memory, so that a slice of a tensor costs that slice. Writing lays out all files first and maps them into
memory as well, so that tensors can be filled in any order and in parts.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from iadgpt_jax.convert.names import hub_name
from iadgpt_jax.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
DTYPES = {
    "BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype(np.float16), "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Stored:
    """One tensor as a file holds it."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Shards(Mapping):
    """Hub name -> sliceable tensor, over all weight files of a directory.

    `stored` tells file, name, shape and dtype of each. Raises InputError, naming file and tensor, for whatever is
    missing, damaged, doubled or at odds with the index.
    """

    def __init__(self, directory: Path):
        self.files = {file: _open(file) for file in _weight_files(directory)}
        self.stored: dict[str, Stored] = {}
        for file, handle in self.files.items():
            for name in handle.keys():
                tensor = handle.get_slice(name)
                code = tensor.get_dtype()
                if code not in DTYPES:
                    raise InputError(
                        f"{file}: tensor {name} has dtype {code}; save the weights as {', '.join(sorted(DTYPES))} first"
                    )
                stored = Stored(file, name, tuple(tensor.get_shape()), DTYPES[code])
                if before := self.stored.get(hub_name(name)):
                    raise InputError(
                        f"{file}: tensor {name} is a second {before.name}, already in {before.file.name}; keep one"
                    )
                self.stored[hub_name(name)] = stored

    def __getitem__(self, name: str):
        stored = self.stored[name]
        return self.files[stored.file].get_slice(stored.name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def _weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a directory, checked against its index if it has one."""
    single, index = directory / WEIGHTS, directory / INDEX
    if single.exists() and index.exists():
        raise InputError(f"{directory} holds both {WEIGHTS} and {INDEX}; remove the one that is stale")
    if single.exists():
        return [single]
    if index.exists():
        return _indexed_files(directory, index)
    if pickles := sorted(path.name for pattern in PICKLES for path in directory.glob(pattern)):
        raise InputError(
            f"{directory / pickles[0]} is a pickle file, which can run any code when it is opened, and is refused; "
            "save the model with transformers' save_pretrained, which writes safetensors"
        )
    raise InputError(f"{directory} holds no weights: expected {WEIGHTS} or {INDEX} with its shards")


def _indexed_files(directory: Path, index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(), object_pairs_hook=_without_doubles)["weight_map"]
        shards = sorted(set(weight_map.values()))
        names = [(str(name), str(shard)) for name, shard in weight_map.items()]
    except _DoubledName as error:
        raise InputError(f"{index}: tensor {error} is listed twice; download the file again") from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is not a safetensors index (a JSON object with weight_map); get it again") from error
    listed: dict[str, set[str]] = {}
    for name, shard in names:
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise InputError(f"{index}: tensor {name} is placed in {shard!r}, not in a .safetensors file beside it")
        listed.setdefault(shard, set()).add(name)
    if not shards:
        raise InputError(f"{index} lists no tensor; download it again")
    if absent := [shard for shard in shards if not (directory / shard).exists()]:
        raise InputError(
            f"{directory / absent[0]} is missing ({len(absent)} of the {len(shards)} shards are); download it"
        )
    for shard in shards:
        held = set(_open(directory / shard).keys())
        if lost := sorted(listed[shard] - held):
            raise InputError(f"{directory / shard} lacks tensor {lost[0]}, which {index.name} lists; get both again")
        if extra := sorted(held - listed[shard]):
            raise InputError(f"{directory / shard} holds tensor {extra[0]}, not listed in {index.name}; get both again")
    return [directory / shard for shard in shards]


class _DoubledName(ValueError):
    pass


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _DoubledName(name)
        found[name] = value
    return found


def _open(file: Path):
    try:
        return safe_open(file, framework="numpy")
    except (SafetensorError, OSError) as error:
        with file.open("rb") as stream:
            start = stream.read(64)
        if start.startswith(b"version https://git-lfs"):
            raise InputError(f"{file} is a Git LFS pointer, not the weights; run `git lfs pull` there") from error
        raise InputError(
            f"{file} is truncated or damaged ({file.stat().st_size:,} bytes: {error}); download it again"
        ) from error


def create_shards(
    directory: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, np.dtype],
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, np.ndarray]:
    """Lay out model.safetensors, or shards with an index beyond `shard_bytes`: name -> array to fill, on disk.

    The files take the names' order and have their full size at once, so a full disk is an OSError here and not a crash
    later. What is written reaches them when the last array is dropped.
    """
    plan = _plan(shapes, dtypes, shard_bytes)
    count = len(plan)
    files = [WEIGHTS] if count == 1 else [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    arrays = {}
    for file, names in zip(files, plan, strict=True):
        header = _header(names, shapes, dtypes)
        with (directory / file).open("wb") as out:
            out.write(header)
            os.posix_fallocate(out.fileno(), 0, len(header) + sum(_bytes(shapes[name], dtypes[name]) for name in names))
        values, at = np.memmap(directory / file, np.uint8, "r+"), len(header)
        for name in names:
            end = at + _bytes(shapes[name], dtypes[name])
            arrays[name] = values[at:end].view(dtypes[name]).reshape(shapes[name])
            at = end
    if count > 1:
        total = sum(_bytes(shapes[name], dtypes[name]) for name in shapes)
        weight_map = {name: file for file, names in zip(files, plan, strict=True) for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return arrays


def _plan(shapes, dtypes, shard_bytes: int) -> list[list[str]]:
    """Names per shard, each filled up to `shard_bytes` in the given order."""
    plan: list[list[str]] = [[]]
    room = shard_bytes
    for name, shape in shapes.items():
        size = _bytes(shape, dtypes[name])
        if plan[-1] and size > room:
            plan.append([])
            room = shard_bytes
        plan[-1].append(name)
        room -= size
    return plan


def _header(names: Sequence[str], shapes, dtypes) -> bytes:
    """The safetensors header: length as little-endian uint64, then JSON padded with blanks to a multiple of 8 bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers asks for it
    at = 0
    for name in names:
        end = at + _bytes(shapes[name], dtypes[name])
        header[name] = {"dtype": CODES[np.dtype(dtypes[name])], "shape": list(shapes[name]), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(shape: Sequence[int], dtype) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
