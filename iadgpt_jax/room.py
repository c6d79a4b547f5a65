"""What the system says against writing files, a full disk above all, as one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from iadgpt_jax.errors import InputError


@contextlib.contextmanager
def room_for(folder: Path, instead: str, goes_on: bool = True) -> Iterator[None]:
    """Around work that writes into a folder.

    instead: how to choose another folder ("choose another --out"). goes_on: whether the same command, started again,
    goes on where it was. Raises InputError for any OSError within, but for that of a pipe that nobody reads.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads what is printed, which no room helps
        raise
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; make room, or {instead}"
            + (". The same command goes on where it was" if goes_on else "")
        ) from error
