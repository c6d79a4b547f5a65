"""What a task is: samples -> instances. A new task is one file with such a class, and one line in table.py."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.errors import InputError


class Task(Protocol):
    """`len(task)` instances per epoch; `instance(index, rng)` is a pure function of its arguments.

    A task class is called as `Class(source, augmentation, **options)` with a `TaskSource` and an `Augmentation`. Its
    options are keyword-only arguments with defaults: config.mixture.<name>.<option> sets them.
    """

    name: ClassVar[str]  # in config.mixture and in logs

    def __len__(self) -> int: ...

    def instance(self, index: int, rng: np.random.Generator) -> Instance: ...


class NoCategory(InputError):
    """No category of the source has what a task needs. Other tasks may still find something to draw."""


def check_option(task: type[Task], option: str, value: object, valid: bool, choose: str) -> None:
    """Raises InputError for an option whose value is not valid; `choose` says what would be."""
    if not valid:
        raise InputError(f"config.mixture.{task.name}.{option} is {value!r}: choose {choose}")
