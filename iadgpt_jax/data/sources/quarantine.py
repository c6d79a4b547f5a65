"""Records that cannot be decoded, set aside: a broken file among a million must not end a run of days.

Such a record is replaced by another of its kind: same category, verdict and viewpoint, with a mask, captions or
questions if it has them. Which one depends on nothing but the source, so every process, every epoch and every restart
finds the same; and as the verdict is the same, no answer becomes false.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from iadgpt_jax.data.sources.sample import Record, Sample, Source
from iadgpt_jax.errors import InputError

NAMED = 8  # records that an error names before it only counts

_met: ContextVar[dict[str, tuple[str, int]] | None] = ContextVar("met", default=None)
_read: ContextVar[dict[str, None] | None] = ContextVar("read", default=None)


class Quarantine:
    """A source whose broken records are replaced. `replaced_in` tells of those met while something was drawn.

    Raises:
      InputError: no record of the same kind can be decoded.
    """

    def __init__(self, source: Source):
        self.source, self.name, self.records = source, source.name, source.records
        self._instead: dict[int, tuple[int, str]] = {}  # broken -> what stands in for it, and what is wrong
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        if (read := _read.get()) is not None:
            read[self.key_of(index)] = None
        if index in self._instead:
            return self._replaced(index)
        try:
            return self.source[index]
        except InputError as error:
            with self._lock:
                if index not in self._instead:
                    self._instead[index] = self._substitute(index, error), str(error)
        return self._replaced(index)

    def has_mask(self, index: int) -> bool:
        """Whether a defective sample has a mask that shows anything. Of a mask that cannot be decoded: no."""
        try:
            if hasattr(self.source, "has_mask"):
                return self.source.has_mask(index)
            mask = self.source[index].mask
            return mask is not None and bool(mask.any())
        except InputError:
            return False

    def key_of(self, index: int) -> str:
        """The name of a record, for messages."""
        keys: Sequence[str] | None = getattr(self.source, "keys", None)
        return f"{self.name}: {keys[index] if keys is not None else f'record {index}'}"

    def _replaced(self, index: int) -> Sample:
        other, reason = self._instead[index]
        if (met := _met.get()) is not None:
            key = self.key_of(index)
            met[key] = reason, met.get(key, (reason, 0))[1] + 1
        return self.source[other]

    def _substitute(self, index: int, error: InputError) -> int:
        """The next index of the same kind, going round, whose record can be decoded."""
        kind = _kind(self.records[index])
        same = [other for other, record in enumerate(self.records) if _kind(record) == kind and other != index]
        after = sum(other < index for other in same)
        for other in (*same[after:], *same[:after]):
            try:
                self.source[other]
            except InputError:
                continue
            return other
        raise InputError(
            f"{self.key_of(index)} cannot be decoded ({error}), and no other {_named(self.records[index])} can take "
            "its place: repair the file, or leave its category out"
        ) from error

    def __getstate__(self) -> dict[str, Any]:  # a loader's worker finds out by itself
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_instead": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _kind(record: Record) -> Hashable:
    return (
        record.category, record.defective, record.viewpoint, record.masked, record.captioned, record.exchanges > 0
    )  # fmt: skip


def _named(record: Record) -> str:
    verdict = {True: "defective", False: "good", None: "unlabelled"}[record.defective]
    return f"{verdict} image of {record.category}"


@contextlib.contextmanager
def replaced_in() -> Iterator[dict[str, tuple[str, int]]]:
    """Key -> (what is wrong with the record, how often another took its place) of what is drawn within the context, in
    the thread that entered it."""
    met: dict[str, tuple[str, int]] = {}
    token = _met.set(met)
    try:
        yield met
    finally:
        _met.reset(token)


@contextlib.contextmanager
def read_in() -> Iterator[dict[str, None]]:
    """The keys, in order, of all records that are read within the context, in the thread that entered it."""
    read: dict[str, None] = {}
    token = _read.set(read)
    try:
        yield read
    finally:
        _read.reset(token)


class QuarantineLimit:
    """Counts the broken records that a process has met, and ends the run where they are too many.

    records: of all sources together. share: of them that may be broken; one always may, unless the share is 0.
    """

    def __init__(self, records: int, share: float):
        self.records, self.share = records, share
        self.most = max(int(records * share), 1) if share else 0
        self.known: dict[str, str] = {}

    def add(self, found: Mapping[str, str]) -> list[str]:
        """Count broken records, key -> what is wrong. Returns a line for each new one. Raises InputError for too
        many."""
        new = {key: reason for key, reason in found.items() if key not in self.known}
        self.known |= new
        if len(self.known) > self.most:
            names = ", ".join(list(self.known)[:NAMED])
            more = f" and {len(self.known) - NAMED} more" if len(self.known) > NAMED else ""
            reason = next(iter(self.known.values()))
            raise InputError(
                f"{len(self.known)} of {self.records} records cannot be decoded: {names}{more}; the first: {reason}; "
                f"repair or remove them, or raise config.max_quarantined={self.share:g}"
            )
        return [
            f"{key} cannot be decoded and is replaced by another of its kind: {reason}" for key, reason in new.items()
        ]
