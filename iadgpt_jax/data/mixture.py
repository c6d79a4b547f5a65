"""Configuration -> the weighted tasks a stage trains on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation
from iadgpt_jax.data.tasks.table import check_options, task_class
from iadgpt_jax.data.tasks.task import NoCategory, Task
from iadgpt_jax.data.tasks.task_source import TaskSource, warn
from iadgpt_jax.errors import InputError


def build(
    source: Source,
    parts: Mapping[str, Mapping],
    categories: Collection[str] | None = None,
    augmentation: Augmentation = NO_AUGMENTATION,
    say: Callable[[str], None] = warn,
) -> list[tuple[Task, float]]:
    """The tasks of config.mixture with a weight above 0, each with its weight.

    Args:
      source: where samples come from; its masks are read once (`TaskSource`).
      parts: task name -> {"weight": share of questions, further options of the task}.
      categories: only these of the source; none: all.
      augmentation: what random views may change.
      say: gets a line for what had to be left out. A task is left out where no category has images enough for it,
        unless it is the one with the largest weight, which the stage is about.

    Raises:
      InputError: an unknown task, option or category, an option's value that makes no sense, no weight above 0, or no
        category for the task with the largest weight.
    """
    for name, options in parts.items():
        if "weight" not in options:
            raise InputError(f"config.mixture.{name} has no weight: set its share of questions, 0 to leave it out")
        if options["weight"] < 0:
            raise InputError(f"config.mixture.{name}.weight is {options['weight']}: choose 0 or more")
    weights = {name: float(options["weight"]) for name, options in parts.items()}
    for name, options in parts.items():
        check_options(name, set(options) - {"weight"})
    if not any(weights.values()):
        raise InputError("config.mixture has no task with a weight above 0")
    drawn_from = TaskSource(source, categories, say)
    built: list[tuple[Task, float]] = []
    for name, options in parts.items():
        if not weights[name]:
            continue
        chosen = {option: value for option, value in options.items() if option != "weight"}
        try:
            built.append((task_class(name)(drawn_from, augmentation, **chosen), weights[name]))
        except NoCategory as error:
            if weights[name] == max(weights.values()):
                raise
            say(f"{error}; the task is left out")
    return built
