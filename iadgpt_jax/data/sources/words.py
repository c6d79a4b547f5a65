"""Words that travel with photographs: a JSONL file beside the images, one object a line.

    {"key": "bolt", "captions": ["A hexagonal bolt …", "Forged steel, one piece …", "Smooth and grey …"]}
    {"key": "bolt/test/scratch", "cause": "contact with a sharp tool", "remedy": "cover the tool edge"}
    {"key": "bolt/test/scratch/000.png", "kind": "deep scratch", "viewpoint": "top"}

A key is that of an image, as the report and protocol files name it, or the beginning of one up to a slash: then the
words hold for every image below. Where several lines speak of an image, the longest key wins, field by field.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iadgpt_jax.data.sources.entry import CAPTIONS, Entry, LeftOut
from iadgpt_jax.errors import InputError

WORDS_FILE = "words.jsonl"
FIELDS = ("kind", "cause", "remedy", "viewpoint")


class Words:
    """The words in a file. Of a line only where it starts is remembered, so that a million captions weigh little.

    Raises InputError for a missing file, a line that is not an object with a key, an unknown field, captions that are
    not three texts, and a key that is there twice.
    """

    def __init__(self, path: Path):
        self._path = path
        self._starts: dict[str, int] = {}
        self._used: set[str] = set()
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; check --words") from error
        start = 0
        for number, line in enumerate(self._file, 1):
            if line.strip():
                key = self._parse(line, f"{path}, line {number}")["key"].strip("/")
                if key in self._starts:
                    raise InputError(f"{path}, line {number} speaks of {key} a second time; put its words on one line")
                self._starts[key] = start
            start += len(line)

    def __enter__(self) -> Words:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add_to(self, entry: Entry) -> Entry:
        """The entry with its words; what is wrong with a good part is never told."""
        found: dict[str, Any] = {}
        for key in _beginnings(entry.key):
            if key in self._starts:
                self._used.add(key)
                found |= self._read(key)
        if not found:
            return entry
        defect = entry.defect
        if defect and found.get("kind"):
            defect = found["kind"]
        wrong = ("cause", "remedy") if defect else ()
        told = {name: found[name] for name in (*wrong, "viewpoint") if name in found}
        captions = tuple(found.get("captions", entry.captions))
        return dataclasses.replace(entry, defect=defect, captions=captions, **told)

    def unused(self) -> Iterator[LeftOut]:
        """Keys that no image had."""
        for key in self._starts:
            if key not in self._used:
                yield LeftOut(f"{self._path.name}: {key}", "no image has this key")

    def _read(self, key: str) -> dict[str, Any]:
        self._file.seek(self._starts[key])
        return self._parse(self._file.readline(), f"{self._path}: {key}")

    def _parse(self, line: bytes, where: str) -> dict[str, Any]:
        try:
            words = json.loads(line)
        except (ValueError, RecursionError) as error:  # the latter: nested without end
            raise InputError(f"{where} is not JSON ({error}); every line is one object") from error
        if not isinstance(words, dict) or not isinstance(words.get("key"), str) or not words["key"].strip("/"):
            raise InputError(f'{where} has no key; write {{"key": "bolt/test/scratch/000.png", …}}')
        if unknown := sorted(set(words) - {"key", "captions", *FIELDS}):
            raise InputError(
                f"{where} has unknown fields {', '.join(unknown)}; known are captions, {', '.join(FIELDS)}"
            )
        captions = words.get("captions", [""] * CAPTIONS)
        if not isinstance(captions, list) or len(captions) != CAPTIONS or not all(isinstance(c, str) for c in captions):
            raise InputError(f"{where} should have {CAPTIONS} captions: shape, material and structure, surface")
        if bad := [name for name in FIELDS if not isinstance(words.get(name, ""), str)]:
            raise InputError(f"{where}: {', '.join(bad)} should be text")
        return words


def _beginnings(key: str) -> Iterator[str]:
    """ "a", "a/b" … and the whole key."""
    end = key.find("/")
    while end >= 0:
        yield key[:end]
        end = key.find("/", end + 1)
    yield key
