"""What the report of an evaluation says in words and single numbers, out of metrics.json and protocol.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.evaluation_tables import named
from iadgpt_jax.evaluate.page import value
from iadgpt_jax.evaluate.table import by_shots, references


def read_json(path: Path) -> dict:
    """A JSON object. Raises InputError where there is none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read {path} ({error.strerror}): name a folder that launch/evaluate.py wrote"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}): evaluate again, or with --from=DIR from the raw files"
        ) from error
    if not isinstance(stored, dict):
        raise InputError(f"{path} is not what launch/evaluate.py writes: name a folder that it wrote")
    return stored


def name_of(metrics: Mapping) -> str:
    """What was evaluated, in a word: the folder's name of a path."""
    dataset = str(metrics.get("dataset_name") or metrics.get("dataset") or "Evaluation").rstrip("/")
    return dataset.rsplit("/", 1)[-1] or dataset


def lede(metrics: Mapping, categories: Sequence[str], protocol: Mapping) -> str:
    """ "15 categories, 1,725 inspected images, 5 draws of the references."; "" of a benchmark of answers."""
    queries = sum(len(keys) for keys in (protocol.get("queries") or {}).values())
    parts = [f"{len(categories)} categor{'y' if len(categories) == 1 else 'ies'}"] if categories else []
    parts += [f"{queries:,} inspected images"] if queries else []
    draws = len(protocol.get("draws") or ()) or metrics.get("seeds")
    parts += [f"{draws} draw{'' if draws == 1 else 's'} of the references"] if draws else []
    return ", ".join(parts) + "." if parts else ""


def stats(shots: Mapping) -> list[tuple[str, str]]:
    """The few numbers to remember, at the most references: (number, what it is)."""
    if not shots:
        return []
    most = by_shots(shots)[-1]
    chosen = ("image_auroc", "pixel_auroc", "pixel_aupro")
    texts = [(value(shots[most].get(metric)), f"{named(metric)} with {references(most)}") for metric in chosen]
    return [(text, words) for text, words in texts if text != "–"]


def warnings(metrics: Mapping) -> list[str]:
    """What a reader must know before the first number."""
    found = []
    if metrics.get("references", "own") != "own":
        found.append(f"A control, not a result: the references are {metrics['references']}.")
    if metrics.get("trained_on"):
        seen = ", ".join(str(name) for name in list(metrics["trained_on"])[:8])
        found.append(f"Not few-shot results: the model was trained on {seen}.")
    return found


def undefined(metrics: Mapping) -> list[tuple[str, str]]:
    """(what could not be measured, why), metrics of one category with one reason together; a benchmark of answers has
    no categories here."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, reasons in (metrics.get("undefined") or {}).items():
        if isinstance(reasons, Mapping):
            for metric, why in reasons.items():
                found.setdefault((f"{name}: ", str(why)), []).append(named(metric))
        else:
            found[name.replace("_", " "), str(reasons)] = []
    return [(name + ", ".join(of), why) for (name, why), of in found.items()]


def facts(metrics: Mapping) -> dict[str, str]:
    """Settings: everything in metrics.json, and in its `settings`, that is one value."""
    everything = {**metrics, **(metrics.get("settings") or {})}
    return {
        key.replace("_", " "): str(one)
        for key, one in everything.items()
        if isinstance(one, str | int | float) and not (isinstance(one, str) and not one)
    }


def draws(protocol: Mapping, most: int) -> list[list[tuple[str, str]]]:
    """Per draw, (category, its references in order); of many categories the first `most`."""
    return [
        [
            (place, ", ".join(map(str, keys)))
            for category, drawn in draw.items()
            for place, keys in _places(category, drawn)
        ][:most]
        for draw in protocol.get("draws") or ()
    ]


def _places(category: str, drawn: Mapping | Sequence) -> list[tuple[str, Sequence]]:
    """(category, or category and viewpoint; its references)."""
    if isinstance(drawn, Mapping):
        return [(f"{category}, {viewpoint}", keys) for viewpoint, keys in drawn.items()]
    return [(category, drawn)]


def categories_of(shots: Mapping) -> list[str]:
    return list(dict.fromkeys(name for k in by_shots(shots) for name in shots[k].get("per_category") or ()))
