"""Paths that name an object store and no folder: what begins with gs:// or s3://.

To pathlib, gs://bucket/run is the folder `run` in `bucket` in `gs:`, and a run would be written there, onto a disk that
goes with its machine. So every command line is looked through before any work begins, and what opens or writes a path
asks here first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

SCHEMES = ("gs", "gcs", "s3", "s3a", "az", "abfs", "abfss", "wasb", "wasbs", "r2", "hdfs")
_NAME = f"(?:{'|'.join(SCHEMES)})"
# One slash or many: pathlib makes one of two.
_BUCKET = re.compile(rf"{_NAME}:/", re.IGNORECASE)
_IN_WORD = re.compile(
    rf"(?:--?(?P<flag>[\w.-]+)=)?(?:.*,)?[\s'\"(\[]*(?P<path>{_NAME}:/[^,]*)", re.IGNORECASE | re.DOTALL
)
REMEDY = "mount the bucket or copy what you need, and give the folder (docs/clusters.md says what can be gs://)"


def is_bucket(path: str | os.PathLike) -> bool:
    """Whether a path names a place in an object store."""
    return bool(_BUCKET.match(os.fspath(path)))


def on_gs(path: str | os.PathLike) -> bool:
    """Whether a path is one of the buckets that something can work in (bucket_files.py)."""
    return address(path).startswith("gs://")


def refusal(path: str | os.PathLike) -> str:
    """The line for a path into a bucket where only folders are read and written."""
    return f"{address(path)} is in a bucket, which is not read or written here: {REMEDY}"


def address(path: str | os.PathLike) -> str:
    """A bucket's path with its two slashes, of which pathlib leaves one."""
    scheme, _, rest = os.fspath(path).partition(":")
    return f"{scheme}://{rest.lstrip('/')}"


def bucket_in(words: Sequence[str], allowed: Collection[str] = ()) -> tuple[str, str] | None:
    """(flag, path) of the first word of a command line that names a bucket where none can be. allowed: flags whose path
    may be gs://. flag: without hyphens; "" of a word that belongs to none."""
    before = ""
    for word in words:
        if found := _IN_WORD.fullmatch(word):
            flag = found["flag"] or (before.lstrip("-") if before.startswith("-") and "=" not in before else "")
            if flag not in allowed or not on_gs(found["path"]):
                return flag, found["path"]
        before = word
    return None
