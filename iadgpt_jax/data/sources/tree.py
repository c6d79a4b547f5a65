"""A dataset's folder as readers see it: sorted names, and an account of every file, so that none is dropped silently.

A file is taken by an entry, named by the reader as left out, covered by a pattern the reader ignores, or a stray.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from iadgpt_jax.data.images import IMAGE_SUFFIXES
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.errors import InputError


class Tree:
    """The folder `root`. Paths in and out are relative to it, with forward slashes; "" is the root itself.

    `left_out` collects what readers leave out, `notes` what they took folders for. Folders in `without` do not exist
    for it (the output may lie inside the source), nor do paths that lead out of the root: indexes that came with a
    dataset name any.
    """

    def __init__(self, root: str | Path, without: Iterable[Path] = ()):
        self.root = Path(root)
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        self._without = {path.resolve() for path in without}
        self._taken: set[bytes] = set()  # digests: a million paths would weigh five times as much
        self._ignored: list[tuple[re.Pattern, str, str]] = []

    @property
    def name(self) -> str:
        """Of the root folder."""
        return self.root.resolve().name

    def path(self, relative: str) -> Path:
        return self.root / relative

    def folders(self, relative: str = "") -> list[str]:
        """Names of the subfolders of a folder, sorted, hidden ones left out; none where there is no such folder."""
        return [entry.name for entry in self._scan(relative) if _is_dir(entry) and self._visible(entry)]

    def files(self, relative: str = "") -> list[str]:
        """Names of the files in a folder, sorted, hidden ones left out; none where there is no such folder."""
        return [entry.name for entry in self._scan(relative) if _is_file(entry) and not entry.name.startswith(".")]

    def images(self, relative: str = "") -> list[str]:
        """Names of the files in a folder whose suffix says image."""
        return [name for name in self.files(relative) if is_image(name)]

    def exists(self, relative: str) -> bool:
        return self.stat(relative) is not None

    def stat(self, relative: str) -> os.stat_result | None:
        """Size and time of a file; None where there is no such file. Any text may be asked for."""
        if posixpath.isabs(relative) or posixpath.normpath(relative).split("/")[0] == "..":
            return None
        try:
            found = os.stat(self.path(relative))
        except (OSError, ValueError):  # not there, too long, or characters that no name has
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def take(self, *relative: str) -> None:
        """These files are part of the dataset, or were read to make it."""
        self._taken.update(_digest(path) for path in relative)

    def leave_out(self, relative: str, why: str) -> None:
        """This file is no part of the dataset."""
        self.take(relative)
        self.left_out.append(LeftOut(relative, why))

    def ignore(self, pattern: str, shown: str, why: str) -> None:
        """Files whose whole path matches the pattern are no part of it; reported as one line that shows `shown`."""
        self._ignored.append((re.compile(pattern), shown, why))

    def note(self, text: str) -> None:
        """A line for people: what a folder was taken for."""
        self.notes.append(text)

    def strays(self) -> Iterator[LeftOut]:
        """Every file that nothing has accounted for, in order of path; ignored ones last, as one line per pattern."""
        counts = [0] * len(self._ignored)
        for relative in self._walk(""):
            if _digest(relative) in self._taken:
                continue
            for number, (pattern, _, _) in enumerate(self._ignored):
                if pattern.fullmatch(relative):
                    counts[number] += 1
                    break
            else:
                why = "not where this layout has images" if is_image(relative) else "not an image"
                yield LeftOut(relative, why)
        for (_, shown, why), count in zip(self._ignored, counts, strict=True):
            if count:
                yield LeftOut(shown, why, count)

    def _walk(self, relative: str, above: tuple[str, ...] = ()) -> Iterator[str]:
        real = os.path.realpath(self.path(relative))
        if real in above:  # a link to a folder that holds it
            return
        for entry in self._scan(relative):
            inside = join(relative, entry.name)
            if _is_dir(entry):
                if Path(entry.path).resolve() not in self._without:
                    yield from self._walk(inside, (*above, real))
            else:
                yield inside

    def _scan(self, relative: str) -> list[os.DirEntry]:
        try:
            with os.scandir(self.path(relative)) as found:
                return sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise InputError(f"cannot read the folder {self.path(relative)}: {error.strerror}; check it") from error

    def _visible(self, entry: os.DirEntry) -> bool:
        return not entry.name.startswith(".") and (not self._without or Path(entry.path).resolve() not in self._without)


def is_image(name: str) -> bool:
    """Whether a file's suffix says image, and its name is not hidden."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rsplit("/", 1)[-1].startswith(".")


def join(*parts: str) -> str:
    """Relative paths put together; empty parts vanish."""
    return "/".join(part for part in parts if part)


def stem(name: str) -> str:
    """A file's name without folder and suffix."""
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _digest(path: str) -> bytes:
    return blake2b(path.encode(errors="surrogatepass"), digest_size=8).digest()
