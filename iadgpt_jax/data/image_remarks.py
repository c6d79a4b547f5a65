"""What is odd about an image that can be read: said once to a person, or collected for a report."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar

from iadgpt_jax import voice
from iadgpt_jax.errors import printable

_collected: ContextVar[list[tuple[str, str]] | None] = ContextVar("collected", default=None)
_said: set[str] = set()
_lock = threading.Lock()


def remark(name: str, what: str) -> None:
    """Note `what` about the image called `name`. Outside of `collected` the first of each kind is a warning on standard
    error."""
    if (found := _collected.get()) is not None:
        found.append((name, what))
        return
    kind = what.split(":")[0]
    with _lock:
        if kind in _said:
            return
        _said.add(kind)
    voice.warn(f"{printable(name)} {what} (further such images are not named)")


@contextlib.contextmanager
def collected() -> Iterator[list[tuple[str, str]]]:
    """(name, what) of every remark within the context, in the thread that entered it."""
    found: list[tuple[str, str]] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)
