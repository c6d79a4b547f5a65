"""The table of tasks. config.mixture names them; a new one is a file beside this one and a line here."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection
from typing import Any

from iadgpt_jax.data.tasks.describe import Describe
from iadgpt_jax.data.tasks.inspect import Inspect
from iadgpt_jax.data.tasks.irregular_region import IrregularRegion
from iadgpt_jax.data.tasks.odd_one_out import OddOneOut
from iadgpt_jax.data.tasks.pair_difference import PairDifference
from iadgpt_jax.data.tasks.reason import Reason
from iadgpt_jax.data.tasks.task import Task
from iadgpt_jax.errors import InputError

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        Describe,
        OddOneOut,
        PairDifference,
        IrregularRegion,
        Inspect,
        Reason,
    )
}


def task_class(name: str) -> type[Task]:
    """The task of a name in config.mixture. Raises InputError for any other name."""
    if name not in TASKS:
        raise InputError(f"config.mixture names task {name!r}{_meant(name, TASKS)}; choose from {', '.join(TASKS)}")
    return TASKS[name]


def default_options(name: str) -> dict[str, Any]:
    """Every option of a task with its default, read from its signature. Raises InputError for an unknown task."""
    parameters = inspect.signature(task_class(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(name: str, options: Collection[str]) -> None:
    """Raises InputError for an option that the task does not have."""
    known = default_options(name)
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"config.mixture.{name} has no option {option!r}{_meant(option, known)}; {has}")


def _meant(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
