"""The sources of a run: one by its path (`config.source`), or several by name (`config.sources`).

    --config.sources.parts.path=DIR --config.sources.parts.exclude="screw,kth_*"
    --config.sources.made_up.path=procedural --config.sources.made_up.weight=0.5

A task draws from all sources that have what it needs, from each as often as its weight says, unless
`config.mixture.TASK.sources` names some of them (data/mixture.py).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iadgpt_jax.command_line import SOURCE
from iadgpt_jax.data.leakage import without_leakage
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.pixel_hashes import Watch, unwatched
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError


@dataclass(frozen=True)
class RunSource:
    """A source and what a run takes of it. name: "" of the only one. weight: relative to the other sources of a task.
    categories: only these; none: all."""

    name: str
    source: Source
    weight: float = 1.0
    categories: tuple[str, ...] = ()


def check_sources(config) -> None:
    """Raises InputError where a configuration names no source, or says something of one that makes no sense."""
    for name, settings in config.sources.items():
        if unknown := sorted(set(settings) - set(SOURCE)):
            raise InputError(f"config.sources.{name} has no {', '.join(unknown)}; it has {', '.join(SOURCE)}")
        if not settings.get("path"):
            raise InputError(f"config.sources.{name} has no path: set --config.sources.{name}.path=DIR")
        if settings.get("weight", SOURCE["weight"]) < 0:
            raise InputError(f"config.sources.{name}.weight is {settings['weight']}: choose 0 or more")
        if "/" in name or "," in name:
            raise InputError(f"config.sources has a source {name!r}: names are without / and commas")
    if config.sources and config.categories:
        raise InputError(
            "config.categories is for the only source of a run: with config.sources, set each one's include or exclude"
        )
    if config.sources and not any(settings.get("weight", SOURCE["weight"]) for settings in config.sources.values()):
        raise InputError("config.sources has no source with a weight above 0: give one")


def open_sources(config) -> list[RunSource]:
    """Those of config.sources with a weight above 0, or else the one of config.source.

    Raises InputError for what cannot be opened, and for an include or exclude that no category of its source matches.
    """
    check_sources(config)

    def opened(path: str) -> Source:
        return open_source(
            path, side=config.image_side, seed=config.seed, procedural_categories=config.source_categories,
            reduced=config.reduced_jpeg,
        )  # fmt: skip

    if not config.sources:
        return [only(opened(config.source), config)]
    sources = []
    for name, settings in config.sources.items():
        settings = {**SOURCE, **settings}
        if settings["weight"]:
            source = opened(settings["path"])
            chosen = chosen_categories(name, source, settings["include"], settings["exclude"])
            sources.append(RunSource(name, source, float(settings["weight"]), chosen))
    return sources


def only(source: Source, config) -> RunSource:
    """The only source of a run, without a name, of config.categories."""
    return RunSource("", source, categories=tuple(_listed(config.categories)))


def without_evaluation_data(
    sources: Sequence[RunSource], leakage: Mapping[str, Any], say: Callable[[str], None], watch: Watch = unwatched
) -> list[RunSource]:
    """The sources, each without what `without_leakage` leaves out of it. Raises InputError as that does."""
    return [replace(one, source=without_leakage(one.source, leakage, one.categories, say, watch)) for one in sources]


def chosen_categories(name: str, source: Source, include: str, exclude: str) -> tuple[str, ...]:
    """The categories of a source that some pattern of `include` matches (empty: all) and none of `exclude`; each is
    patterns as of file names, separated by commas. Raises InputError for a pattern that matches nothing."""
    there = list(dict.fromkeys(record.category for record in source.records))
    if not include and not exclude:
        return ()
    for key, patterns in (("include", _listed(include)), ("exclude", _listed(exclude))):
        for pattern in patterns:
            if not fnmatch.filter(there, pattern):
                raise InputError(
                    f"config.sources.{name}.{key}: source {source.name} has no category {pattern}; it has "
                    f"{', '.join(sorted(there)[:20])}{' …' if len(there) > 20 else ''}"
                )
    chosen = [category for category in there if not include or _matches(category, _listed(include))]
    chosen = [category for category in chosen if not _matches(category, _listed(exclude))]
    if not chosen:
        raise InputError(f"config.sources.{name}: nothing of source {source.name} is left; correct include and exclude")
    return tuple(chosen)


def _matches(category: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(category, pattern) for pattern in patterns)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
