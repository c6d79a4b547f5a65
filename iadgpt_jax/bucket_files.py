"""Files in buckets of Google Cloud Storage (gs://): what a training workdir there needs.

A bucket has objects and no folders: nothing is appended to, nothing is renamed, and an object is there whole or not at
all. It keeps a checksum of each, compares it whenever the object is read, and tells it without reading.

Needs gcsfs (`pip install "iadgpt_jax[cloud]"`), which finds credentials as Google's tools do. STORAGE_EMULATOR_HOST
names a bucket's stand-in for tests. Arrays of checkpoints are written and read by TensorStore's own client.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from iadgpt_jax.buckets import address, is_bucket, on_gs, refusal
from iadgpt_jax.errors import InputError

# etils.epath, and with it Orbax, would take TensorFlow's client for buckets, which takes seconds to import.
os.environ.setdefault("EPATH_USE_TF", "0")

_copies: list[tempfile.TemporaryDirectory] = []  # of folders in buckets; removed when the process ends


class Stored(NamedTuple):
    """What a bucket says of an object; checksum: CRC-32C, in the bucket's own words."""

    bytes: int
    checksum: str


def place(path: str | os.PathLike) -> Any:
    """A pathlib.Path; of a path gs://… one that etils.epath makes, which has the same methods.

    Raises InputError for other object stores, and where gcsfs is not installed.
    """
    if not is_bucket(path):
        return Path(path)
    file_system(path)
    from etils import epath

    return epath.Path(address(path))


def file_system(path: str | os.PathLike) -> Any:
    """fsspec's file system for a path gs://…. Raises InputError as `place`."""
    if not on_gs(path):
        raise InputError(refusal(path))
    try:
        import fsspec
        import gcsfs  # noqa: F401
    except ImportError as error:
        raise InputError(
            f'{address(path)} needs gcsfs: pip install "iadgpt_jax[cloud]", or mount the bucket and give the folder'
        ) from error
    # Other processes write, too, so nothing that was listed before is believed.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return fsspec.filesystem("gcs", finalize_on_close=True)  # the very one that epath uses


@contextlib.contextmanager
def clear(path: str | os.PathLike) -> Iterator[None]:
    """What a bucket refuses is an InputError about `path`: no credentials, no permission, no such bucket."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever class gcsfs, aiohttp and google.auth raise
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(
            f"{address(path)} cannot be reached ({line[:200]}): check its name, your permission to read and write it, "
            "and your credentials (gcloud auth application-default login)"
        ) from error


def check_writable(folder: str | os.PathLike) -> None:
    """Raises InputError where nothing can be written into a folder of a bucket."""
    probe = f"{address(folder)}/.probe"
    with clear(folder):
        file_system(folder).pipe_file(probe, b"")
        file_system(folder).rm_file(probe)


def listing(folder: str | os.PathLike) -> dict[str, Stored]:
    """The objects below a folder of a bucket, by their relative names."""
    system = file_system(folder)
    root = system._strip_protocol(address(folder)).rstrip("/") + "/"
    found = system.find(root, detail=True)
    return {
        path.removeprefix(root): Stored(int(told["size"]), str(told.get("crc32c")))
        for path, told in found.items()
        if path.startswith(root) and told["type"] == "file" and not path.endswith("/")
    }


@contextlib.contextmanager
def staged(folder: str | os.PathLike) -> Iterator[Path]:
    """A folder to write files into that are to lie in `folder`: that one itself, or, where it is in a bucket, a
    temporary one whose files are copied there at the end, those inside folders first."""
    if not is_bucket(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
        copy_up(Path(made), folder)


def copy_up(local: Path, folder: str | os.PathLike) -> None:
    """Copy the files below a local folder into a folder of a bucket, those inside folders first. Raises InputError as
    `clear`."""
    names = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
    with clear(folder):
        for name in sorted(names, key=lambda name: (-name.count("/"), name)):
            file_system(folder).put_file(str(local / name), f"{address(folder)}/{name}")


def copied(folder: str | os.PathLike) -> Path:
    """The folder itself, or, where it is in a bucket, a copy that lives as long as this process."""
    if not is_bucket(folder):
        return Path(folder)
    made = tempfile.TemporaryDirectory()
    _copies.append(made)
    for name in listing(folder):
        target = Path(made.name) / name
        if not target.resolve().is_relative_to(Path(made.name).resolve()):
            raise InputError(f"{address(folder)} holds {name!r}, which is outside of it: remove it")
        target.parent.mkdir(parents=True, exist_ok=True)
        file_system(folder).get_file(f"{address(folder)}/{name}", str(target))
    return Path(made.name)


class Mirror:
    """A folder for what is appended to: that one itself, or, where it is in a bucket, a temporary one, which `copy` and
    `close` copy there."""

    def __init__(self, folder: str | os.PathLike):
        self.target = folder
        self._made = tempfile.TemporaryDirectory() if is_bucket(folder) else None
        self.folder = Path(self._made.name if self._made else folder)

    def copy(self) -> None:
        if self._made:
            copy_up(self.folder, self.target)

    def close(self) -> None:
        self.copy()
        if self._made:
            self._made.cleanup()
            self._made = None
