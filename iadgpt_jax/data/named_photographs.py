"""Photographs as a command line names them: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from iadgpt_jax.data.images import IMAGE_SUFFIXES, read_image
from iadgpt_jax.errors import InputError

LONGEST = 200  # bytes; file systems take 255


class Named(NamedTuple):
    """A photograph's file. singly: it was named itself, not found in a folder or by a pattern."""

    path: Path
    singly: bool


def named_photographs(words: Sequence[str], flag: str) -> list[Named]:
    """The files that the values of a flag name, each once, in the flag's order and by name within a folder or pattern.

    A folder is all photographs in it and in its folders, hidden ones aside; a pattern is one of the shell's (** too).
    Raises InputError, naming the flag, where a folder or a pattern holds none.
    """
    found: dict[Path, Named] = {}
    for word in words:
        path = Path(word)
        try:
            is_folder, is_pattern = path.is_dir(), glob.has_magic(word) and not path.exists()
        except OSError as error:  # above all a name that is too long
            raise InputError(f"{flag}={word[:200]}: {error.strerror}; name a file, a folder or a pattern") from error
        if is_folder:
            files = sorted(
                file for file in path.rglob("*") if _is_photograph(file.relative_to(path)) and file.is_file()
            )
        elif is_pattern:
            matches = map(Path, glob.glob(word, recursive=True))
            files = sorted(file for file in matches if _is_photograph(Path(file.name)) and file.is_file())
        else:
            found.setdefault(path, Named(path, True))
            continue
        if not files:
            raise InputError(
                f"{flag}={word}: no photograph there ({', '.join(IMAGE_SUFFIXES)}); name a file, a folder or a pattern "
                "such as 'parts/*.jpg'"
            )
        for file in files:
            found.setdefault(file, Named(file, False))
    return list(found.values())


def check_singly_named(photographs: Sequence[Named]) -> None:
    """Read those that were named themselves; raises InputError for the first that is no photograph."""
    for one in photographs:
        if one.singly:
            read_image(one.path)


def _is_photograph(relative: Path) -> bool:
    return relative.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in relative.parts)


def file_stems(paths: Sequence[Path]) -> list[str]:
    """A name for what is made of each file: its stem, with its folder's name or a number where that is taken. Cut to
    LONGEST bytes, so that a few letters more still make a file's name."""
    taken: set[str] = set()
    out = []
    for path in paths:
        stem, number = _cut(path.stem), 1
        if stem in taken and path.parent.name:
            stem = _cut(f"{path.parent.name}_{path.stem}")
        plain = stem
        while stem in taken:
            number += 1
            stem = f"{plain}_{number}"
        taken.add(stem)
        out.append(stem)
    return out


def _cut(stem: str) -> str:
    return stem if len(os.fsencode(stem)) <= LONGEST else os.fsencode(stem)[:LONGEST].decode(errors="ignore")
