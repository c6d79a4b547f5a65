"""Run the cases of a target and sort out what comes of them."""

from __future__ import annotations

import contextlib
import importlib
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from iadgpt_jax.errors import InputError

TARGETS = ("image", "chat", "hf", "config", "words")
SECONDS = 20  # that a case may take
SHOWN = 20  # failures told; one defect makes many

Case = Callable[[Random], None]  # draws an input and has it read


class Hangs(BaseException):
    """A case takes too long."""


@dataclass
class Found:
    """How many cases were read and refused; of those that failed, what is told."""

    cases: int = 0
    read: int = 0
    refused: int = 0
    failures: dict[int, str] = field(default_factory=dict)


def target(name: str, folder: Path) -> Case:
    """The case of a target; `folder` is its own, empty."""
    return importlib.import_module(f"tools.fuzzing.{name}").prepared(folder)


def run(case: Case, numbers: Iterable[int], seed: int) -> Found:
    """Run cases by their numbers."""
    found = Found()
    for number in numbers:
        found.cases += 1
        try:
            with in_time():
                case(Random(f"{seed}/{number}"))
            found.read += 1
        except InputError as error:
            found.refused += 1
            if "\n" in str(error).strip():
                found.failures[number] = f"an error of several lines: {error}"
        except (Exception, Hangs):
            found.failures[number] = traceback.format_exc(limit=-6)
        if len(found.failures) >= SHOWN:
            break
    return found


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def late(number, frame):
        raise Hangs(f"takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
