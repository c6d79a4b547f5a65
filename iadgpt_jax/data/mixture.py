"""Configuration -> the weighted tasks a stage trains on, each drawn from one source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from iadgpt_jax.data.run_sources import RunSource
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION, Augmentation
from iadgpt_jax.data.tasks.table import check_options, task_class
from iadgpt_jax.data.tasks.task import NoCategory, Task
from iadgpt_jax.data.tasks.task_source import TaskSource, listed, warn
from iadgpt_jax.errors import InputError

NOT_OPTIONS = ("weight", "sources", "replay")  # what an entry of config.mixture says besides the task's own options


class Part(NamedTuple):
    """A task, the share of questions it is to have, and the name of the source it draws from, "" of the only one."""

    task: Task
    share: float
    source: str = ""

    @property
    def name(self) -> str:
        """In logs: the task's name, and its source's where a run has several."""
        return f"{self.task.name}/{self.source}" if self.source else self.task.name


def build(
    source: Source,
    parts: Mapping[str, Mapping],
    categories: Collection[str] | None = None,
    augmentation: Augmentation = NO_AUGMENTATION,
    say: Callable[[str], None] = warn,
) -> list[tuple[Task, float]]:
    """The tasks of a mixture with a weight above 0, each with its weight, over a single source: see `build_parts`."""
    only = RunSource("", source, categories=tuple(categories or ()))
    return [(part.task, part.share) for part in build_parts([only], parts, augmentation=augmentation, say=say)]


def build_parts(
    sources: Sequence[RunSource],
    parts: Mapping[str, Mapping],
    shares: Mapping[str, float] | None = None,
    augmentation: Augmentation = NO_AUGMENTATION,
    say: Callable[[str], None] = warn,
) -> list[Part]:
    """The tasks of config.mixture with a weight above 0: one for each source that serves it.

    Args:
      sources: where samples come from; the masks of each are read once (`TaskSource`).
      parts: task name -> {"weight": share of questions, "sources": names of those to draw from, none for all that have
        what the task needs, further options of the task}.
      shares: of questions, by task (`shares_of`); by default the weights. Sources of a task divide its share by theirs.
      say: gets a line for what had to be left out. A task is left out where no category has images enough for it,
        unless it is the one with the largest weight, which the stage is about; its share goes to the stage's others.

    Raises:
      InputError: an unknown task, option, category or source, an option's value that makes no sense, no weight above 0,
        a source without what a task that names it needs, or none for the task with the largest weight.
    """
    check_weights(parts)
    shares = dict(shares or {name: float(options["weight"]) for name, options in parts.items()})
    for name, options in parts.items():
        check_options(name, set(options) - set(NOT_OPTIONS))
    if not any(shares.values()):
        raise InputError("config.mixture has no task with a weight above 0: give one")
    drawn_from = {one.name: TaskSource(one.source, one.categories, say) for one in sources}
    built: list[Part] = []
    left_out: list[str] = []
    for name, options in parts.items():
        if not shares[name]:
            continue
        own = {option: value for option, value in options.items() if option not in NOT_OPTIONS}
        named = _named(name, options, drawn_from)
        tasks: dict[str, Task] = {}
        refused: dict[str, InputError] = {}
        for one in named or drawn_from:
            try:
                tasks[one] = task_class(name)(drawn_from[one], augmentation, **own)
            except InputError as error:
                if one in named:
                    raise
                refused[one] = error
        if not tasks:
            errors = list(refused.values())
            if shares[name] == max(shares.values()) or not all(isinstance(error, NoCategory) for error in errors):
                raise errors[0]
            say(f"{errors[0]}; the task is left out")
            left_out.append(name)
            continue
        if refused:  # of many sources with the same lack, one line
            first, *more = refused
            others = f" (so it is with {listed(more)})" if more else ""
            say(f"{refused[first]}{others}; the task draws from {', '.join(tasks)}")
        total = sum(one.weight for one in sources if one.name in tasks)
        built += [
            Part(tasks[one.name], shares[name] * one.weight / total, one.name) for one in sources if one.name in tasks
        ]
    return _made_up_for(built, left_out, shares, {name: options.get("replay", "") for name, options in parts.items()})


def _made_up_for(
    built: Sequence[Part], left_out: Collection[str], shares: Mapping[str, float], stages: Mapping[str, str]
) -> list[Part]:
    """The share of tasks that are left out goes to the others of the same stage, so that replay keeps its own."""
    whole, left = Counter(), Counter()
    for name, share in shares.items():
        whole[stages[name]] += share
        left[stages[name]] += 0.0 if name in left_out else share
    factors = {stage: whole[stage] / left[stage] for stage in whole if left[stage]}
    return [part._replace(share=part.share * factors[stages[part.task.name]]) for part in built]


def shares_of(mixture: Mapping[str, Mapping], questions: int, replay: Mapping[str, Mapping]) -> dict[str, float]:
    """Task -> its share of all questions, from weights that count within the stage, or within a stage that is replayed.

    Args:
      mixture: config.mixture. "replay" of a task is the name of the stage whose task it is, "" of the stage's own.
      questions: of the stage's own.
      replay: name of a stage before -> {"share": what part of its questions comes along, "questions": how many it has}.

    Raises:
      InputError: a stage that `replay` does not have, or a negative share.
    """
    check_weights(mixture)
    sizes = {"": float(questions)}
    for name, before in replay.items():
        if before["share"] < 0:
            raise InputError(f"config.replay.{name}.share is {before['share']}: choose 0 or more")
        sizes[name] = before["share"] * before["questions"]
    totals: dict[str, float] = {}
    for task, options in mixture.items():
        if (stage := options.get("replay", "")) not in sizes:
            raise InputError(
                f"config.mixture.{task}.replay is {stage!r}, but config.replay has {', '.join(replay) or 'nothing'}: "
                "name one of these, or none"
            )
        totals[stage] = totals.get(stage, 0.0) + options["weight"]
    if not any(totals[stage] for stage in totals if stage):
        return {task: float(options["weight"]) for task, options in mixture.items()}
    if questions <= 0 and totals.get(""):
        raise InputError("config.questions is 0: set how many questions of its own the stage has beside those replayed")
    shares = {}
    for task, options in mixture.items():
        stage = options.get("replay", "")
        shares[task] = sizes[stage] * options["weight"] / totals[stage] if totals[stage] else 0.0
    return shares


def check_weights(parts: Mapping[str, Mapping]) -> None:
    """Raises InputError for a task without a weight, or with a negative one."""
    for name, options in parts.items():
        if "weight" not in options:
            raise InputError(f"config.mixture.{name} has no weight: set its share of questions, 0 to leave it out")
        if options["weight"] < 0:
            raise InputError(f"config.mixture.{name}.weight is {options['weight']}: choose 0 or more")


def _named(task: str, options: Mapping, sources: Collection[str]) -> tuple[str, ...]:
    """The sources that a task names. Raises InputError for one that the run does not have."""
    named = options.get("sources", ())
    named = (named,) if isinstance(named, str) and named else tuple(named)
    if unknown := [one for one in named if one not in sources]:
        has = ", ".join(one for one in sources if one) or "one without a name"
        raise InputError(
            f"config.mixture.{task}.sources names {', '.join(unknown)}, but config.sources has {has}: name one of these"
        )
    return named
