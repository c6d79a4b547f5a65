"""Checksums of a folder's files, kept in the folder: a flipped bit, a cut file or a missing one is found before use.

    FOLDER/digests.json    {"part_bytes": n, "files": {relative path: {"bytes": n, "crc32": [one per part]}}}

Of a folder in a bucket it has the sizes and checksums that the bucket keeps of its objects, and compares when they are
read: {"stored": {relative path: [bytes, checksum]}}. Nothing is read to write or to check them.

CRC-32 finds every single flipped bit and every burst of up to 32 bits, and misses one in 4 billion other damages. It
is no protection against somebody who means harm: who can change a file can change its checksum.
"""

from __future__ import annotations

import json
import operator
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from iadgpt_jax.bucket_files import Stored, listing
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.whole_file import write_whole

DIGESTS = "digests.json"
PART_BYTES = 64 << 20  # of a file, checked by one thread or one process
_PIECE_BYTES = 1 << 20  # read at a time: stays in the processor's cache
_THREADS = 8


def write_digests(folder: Path, names: Sequence[str] | None = None) -> None:
    """Write digests.json about the files in a folder. names: of these alone, by default all, in folders too."""
    if is_bucket(folder):
        stored = listing(folder)
        told = {name: stored[name] for name in sorted(names or stored) if name != DIGESTS}
        text = json.dumps({"stored": {name: list(one) for name, one in told.items()}}, indent=0)
        (folder / DIGESTS).write_text(text)
        return
    listed = sorted(_files_in(folder)) if names is None else list(names)
    sizes = {name: _size(folder / name) for name in listed}
    parts = [(name, at) for name, size in sizes.items() for at in range(0, size, PART_BYTES)]
    files: dict[str, dict] = {name: {"bytes": size, "crc32": []} for name, size in sizes.items()}
    for (name, _), checksum in zip(parts, _in_threads(folder, parts, PART_BYTES), strict=True):
        files[name]["crc32"].append(checksum)
    text = json.dumps({"part_bytes": PART_BYTES, "files": files}, indent=0)
    write_whole(folder / DIGESTS, text)


def has_digests(folder: Path) -> bool:
    """Whether there is something to check the folder's files against."""
    return (folder / DIGESTS).exists()


def damage(folder: Path, share: int = 0, shares: int = 1) -> str | None:
    """What is wrong with a folder's files, in a few words; None: they are as they were written, or nothing is known.

    Files beside those that are listed do not matter. share, shares: checks only every `shares`-th part, so that several
    processes check a folder together.
    """
    if not has_digests(folder):
        return None
    if is_bucket(folder):
        return _damage_in_bucket(folder)
    try:
        written = json.loads((folder / DIGESTS).read_text())
        part_bytes = operator.index(written["part_bytes"])
        files = {name: (operator.index(values["bytes"]), values["crc32"]) for name, values in written["files"].items()}
        parts = [(name, n * part_bytes, crc) for name, (_, crcs) in files.items() for n, crc in enumerate(crcs)]
        parts = parts[share::shares]
        if any(len(crcs) != -(-size // part_bytes) for size, crcs in files.values()):
            return f"{DIGESTS} is damaged"
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError, ArithmeticError):
        return f"{DIGESTS} is damaged"
    try:
        for name, (size, _) in files.items():
            path = folder / name
            if name.startswith("/") or ".." in name.split("/") or "\0" in name or not path.is_file():
                return f"{name!r} is missing"
            if (found := _size(path)) != size:
                return f"{name} has {found:,} bytes, not {size:,}"
        found = _in_threads(folder, [(name, at) for name, at, _ in parts], part_bytes)
        for (name, _, crc), now in zip(parts, found, strict=True):
            if now != crc:
                return f"{name} has changed since it was written"
    except OSError as error:
        return f"its files cannot be read ({error.strerror or error})"
    return None


def _damage_in_bucket(folder: Path) -> str | None:
    try:
        stored = json.loads((folder / DIGESTS).read_text())["stored"]
        written = {name: Stored(*one) for name, one in stored.items()}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return f"{DIGESTS} is damaged"
    found = listing(folder)
    for name, one in written.items():
        if name not in found:
            return f"{name!r} is missing"
        if found[name] != one:
            return f"{name} has changed since it was written"
    return None


def _in_threads(folder: Path, parts: Sequence[tuple[str, int]], part_bytes: int) -> Iterator[int]:
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        yield from threads.map(lambda part: _checksum(folder / part[0], part[1], part_bytes), parts)


def _checksum(path: Path, start: int, length: int) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        while length > 0 and (piece := stream.read(min(length, _PIECE_BYTES))):
            checksum = zlib.crc32(piece, checksum)
            length -= len(piece)
    return checksum


def _size(path: Path) -> int:
    with path.open("rb", buffering=0) as stream:
        return stream.seek(0, os.SEEK_END)


def _files_in(folder: Path, before: str = "") -> Iterator[str]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files_in(path, f"{before}{path.name}/")
        elif path.name != DIGESTS:
            yield before + path.name
