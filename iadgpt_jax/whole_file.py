"""Files that are there whole or not at all: written aside, and renamed when they are complete.

A process that is killed leaves a file that begins with PARTIAL, which nobody reads.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from iadgpt_jax.buckets import is_bucket

PARTIAL = ".partial-"  # begins the name of a file that is being written


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """A stream to write a file's content to; the file is in its place when the context is left without an error, and
    on the disk, too. Its folder is made where there is none.

    Raises OSError where it cannot be written; then nothing is left of it.
    """
    if is_bucket(path):
        raise OSError(errno.EINVAL, "a bucket is no folder", str(path))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{PARTIAL}{os.urandom(6).hex()}")  # hosts may have processes of the same number
    try:
        with open(aside, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file in UTF-8. Characters that no file can hold (halves of a pair, as JSON may carry them) become
    question marks. Raises OSError as `whole_file`."""
    with whole_file(path) as stream:
        stream.write(content.encode("utf-8", errors="replace") if isinstance(content, str) else content)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file for people to read, too. Raises OSError as `whole_file`."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
