"""Whether the configuration that a workdir was trained with and the one it is asked to go on with mean the same.

What only says how and where a run is computed, logged and saved may change. What changes the meaning (seed, data,
rates, sizes) is refused: half a run of each would pass for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iadgpt_jax.errors import InputError

# How and where, not what. config.model is compared with the model itself (model_options.continued), and what
# config.leakage leaves out with the records (check_data).
FREE = """mesh slice attention remat microbatches vocab_chunks scan_unroll
    loader_threads loader_processes max_quarantined max_skipped leakage
    log_every log_parameters profile checkpoint_every checkpoint_minutes keep watchdog_minutes
    resume_anyway model""".split()
NAMED = ("sources", "replay", "optimizer.groups")  # groups whose members a run names: one more is a change
PATHS = ("init_from", "source")  # the same file may be called by another name
SHOWN = 5  # changes that an error shows before it only counts


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key to (value before, value now) of what changes the meaning. Both as model.json has them. A key that one of them
    lacks was added to or removed from the program, and is no change."""
    old, new = flat(before), flat(now)
    found = {}
    for key in dict.fromkeys([*old, *new]):
        if _within(key, FREE) or not (_within(key, NAMED) or (key in old and key in new)):
            continue
        values = old.get(key), new.get(key)
        if key == "steps" and values[1] >= values[0]:  # a run may be made longer
            continue
        if values[0] != values[1] and not _same_path(key, *values):
            found[key] = values
    return found


def check_changes(workdir: str, step: int, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError, with the difference, where the meaning has changed."""
    if found := changes(before, now):
        raise InputError(
            f"{workdir} holds a run of another configuration: {shown(found)}; give its configuration, choose another "
            f"--workdir, or go on from its step {step} all the same with --config.resume_anyway=True"
        )


def check_data(workdir: str, before: Sequence[Mapping], now: Sequence[Mapping]) -> None:
    """Raises InputError where the records have changed that a stage trains on. before, now: the ancestry that
    model.json has, and the one it would have with the data as they are (data/ancestry.py)."""
    new = [entry for entry in now if entry not in before]
    if not before or not new:
        return
    told = []
    for entry in new:
        was = [one for one in before if (one["stage"], one["source"]) == (entry["stage"], entry["source"])]
        records = f"{was[-1]['records']} -> " if was else ""
        told.append(f"{entry['source']} {records}{entry['records']} records in {len(entry['categories'])} categories")
    raise InputError(
        f"{workdir} was trained on other data: {', '.join(told)}; restore them, choose another --workdir, or go on all "
        "the same with --config.resume_anyway=True"
    )


def shown(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Changes in words: the first few, and how many more there are."""
    told = [f"{key} {_short(old)} -> {_short(new)}" for key, (old, new) in list(found.items())[:SHOWN]]
    return ", ".join(told) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Every value of nested mappings, under its key as on the command line."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


def _within(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _same_path(key: str, old: Any, new: Any) -> bool:
    if key not in PATHS and not (key.startswith("sources.") and key.endswith(".path")):
        return False
    return bool(old and new) and Path(old).resolve() == Path(new).resolve()


def _short(value: Any) -> str:
    text = "nothing" if value in (None, "") else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
