"""What a preparation is going to do, written down before it starts: the entries of every shard, and a digest of it all.

    <work>/plan/<split>-NNNNN.jsonl      one entry a line, at most SHARD_EXAMPLES lines and about SHARD_BYTES of files
    <work>/plan.json                     the digest

The digest covers every entry and the size and time of its files: a preparation that was stopped goes on only where its
source is the same as before. The plan itself holds no times, so that equal sources give equal datasets.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iadgpt_jax.data.sources.entry import TEST, TRAIN, VALIDATION, Entry, LeftOut, is_unicode
from iadgpt_jax.data.sources.tree import Tree
from iadgpt_jax.data.sources.words import Words
from iadgpt_jax.errors import InputError
from iadgpt_jax.whole_file import write_json

SHARD_EXAMPLES = 1000
SHARD_BYTES = 512 * 2**20
SPLITS = (TRAIN, VALIDATION, TEST)  # in the order of the index
_FOLDER, _FILE = "plan", "plan.json"


@dataclass(frozen=True)
class Shard:
    """One file of the dataset to write: number `number` of `of` in its split."""

    split: str
    number: int
    of: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"


@dataclass(frozen=True)
class Plan:
    """All shards in order, the files left out, and the digest."""

    shards: tuple[Shard, ...]
    entries: int
    left_out: tuple[LeftOut, ...]
    digest: str
    categories: tuple[str, ...]


def entries_of(work: Path, shard: Shard) -> Iterator[Entry]:
    """The entries of a shard, in order."""
    with (work / _FOLDER / f"{shard.name}.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield Entry.from_json(json.loads(line))


def make_plan(
    work: Path,
    tree: Tree,
    entries: Iterator[Entry],
    words: Words | None,
    categories: Collection[str] | None,
    options: dict[str, Any],
) -> Plan:
    """Write the plan of a dataset into an existing folder.

    Args:
      entries: of the whole dataset; words: added to them; categories: only these; options: what else the bytes of the
        dataset depend on, for the digest.

    Raises InputError where no entry is left, for an unknown category, and what the reader raises.
    """
    folder = work / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    writers = {split: _SplitWriter(folder, split, digest) for split in SPLITS}
    keys: set[bytes] = set()
    known: dict[str, None] = {}
    total = 0
    for entry in entries:
        known[entry.category] = None
        tree.take(*entry.files)
        if categories and entry.category not in categories:
            continue
        key = hashlib.blake2b(entry.key.encode(errors="surrogatepass"), digest_size=8).digest()
        if key in keys:
            tree.leave_out(entry.key, "there is an image of this name already")
            continue
        keys.add(key)
        if words is not None:
            entry = words.add_to(entry)
        if not is_unicode(json.dumps(entry.to_json(), ensure_ascii=False)):
            _leave_out(tree, entry, entry.image, "its name or words are not Unicode")
            continue
        kept, stamps = _look_at_files(tree, entry)
        if kept is None:
            continue
        writers[entry.split].add(kept, stamps)
        total += 1
    for writer in writers.values():
        writer.close()
    if unknown := sorted(set(categories or ()) - set(known)):
        raise InputError(f"no category {', '.join(unknown)} in {tree.root}; there are {', '.join(known)}")
    if not total:
        raise InputError(f"no image in {tree.root} can be used; is it the folder that the dataset was unpacked to?")
    left_out = [*tree.left_out, *tree.strays(), *(words.unused() if words else ())]
    digest.update(json.dumps([item.to_json() for item in left_out]).encode())
    shards = tuple(Shard(split, n, writers[split].shards) for split in SPLITS for n in range(writers[split].shards))
    return Plan(shards, total, tuple(left_out), digest.hexdigest(), tuple(categories or known))


def remember(work: Path, plan: Plan) -> None:
    """Note whose shards a folder holds."""
    write_json(work / _FILE, {"digest": plan.digest})


def remembered(work: Path) -> str | None:
    """The digest of the plan whose shards a folder holds; None where there is none."""
    try:
        return json.loads((work / _FILE).read_text())["digest"]
    except (OSError, ValueError, KeyError):
        return None


def _look_at_files(tree: Tree, entry: Entry) -> tuple[Entry | None, list[tuple[int, int]]]:
    """The entry without the masks that are not there, None without its image; and (size, time in ns) of its files."""
    stamps = [_stamp(tree, path) for path in (entry.image, *entry.more_images)]
    for path, stamp in zip((entry.image, *entry.more_images), stamps, strict=True):
        if stamp is None:
            why = "no such file" if path == entry.image else f"no such file; it belongs to {entry.key}"
            _leave_out(tree, entry, path, why)
            return None, []
    masks = {path: _stamp(tree, path) for path in entry.masks}
    for path, stamp in masks.items():
        if stamp is None and not entry.mask_decides:
            tree.leave_out(path, "no such mask; its image is kept without one")
    if entry.defect and not entry.masks and not entry.exchanges:
        tree.left_out.append(LeftOut(entry.image, "has no mask; the image is kept without one"))
    there = tuple(path for path, stamp in masks.items() if stamp is not None)
    if entry.mask_decides and there != entry.masks:
        _leave_out(tree, entry, entry.image, "has no mask, and nothing else tells whether it is good")
        return None, []
    return replace(entry, masks=there), [*stamps, *(stamp for stamp in masks.values() if stamp)]


def _leave_out(tree: Tree, entry: Entry, path: str, why: str) -> None:
    """One file of an entry is at fault, and all others go with it."""
    tree.leave_out(path, why)
    for other in entry.files:
        if other != path and tree.exists(other):
            tree.leave_out(other, f"belongs to {entry.image}, which is left out")


def _stamp(tree: Tree, path: str) -> tuple[int, int] | None:
    found = tree.stat(path)
    return found and (found.st_size, found.st_mtime_ns)


class _SplitWriter:
    """The plan files of one split; a file is closed when it is full."""

    def __init__(self, folder: Path, split: str, digest: Any):
        self._folder, self._split, self._digest = folder, split, digest
        self._file = None
        self._examples = self._bytes = self.shards = 0

    def add(self, entry: Entry, stamps: list[tuple[int, int]]) -> None:
        if self._file is None or self._examples == SHARD_EXAMPLES or self._bytes >= SHARD_BYTES:
            self.close()
            self._file = (self._folder / f"{self._split}-{self.shards:05d}.jsonl").open("w", encoding="utf-8")
            self._examples = self._bytes = 0
            self.shards += 1
        line = json.dumps(entry.to_json(), ensure_ascii=False)
        self._file.write(line + "\n")
        self._digest.update(f"{self._split} {line} {stamps}\n".encode(errors="surrogateescape"))
        self._examples += 1
        self._bytes += sum(size for size, _ in stamps)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
