"""What a model was trained on, stage after stage, and whether an evaluation asks about any of it.

`info["trained_on"]` of model.json and config.json is a list with an entry for every stage, those of what a stage was
started from first:

    {"stage": 3, "source": "parts", "records": 1200, "categories": ["bolt", …], "images": ["9f86d081884c7d65", …]}

`images` are the pixel hashes (their first 8 bytes, in hex) of some of the photographs of every category, evenly spread:
enough to know a category again under another name. Products that are drawn have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from iadgpt_jax.data.leakage import normalised, positions_of
from iadgpt_jax.data.sources.pixel_hashes import Watch, hashes_of, unwatched
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError

INFO_KEY = "trained_on"
OF_CATEGORY, IN_ALL = 16, 4096  # hashes kept of a category, and of a source; at least one of a category
NAMED = 4  # categories that a line names before it only counts
_BYTES = 8


def training_entry(
    stage: int, source: Source, categories: Collection[str] = (), watch: Watch = unwatched
) -> dict[str, Any]:
    """The entry of a stage that trains on these categories of a source (none: all)."""
    members = _members(source, categories)
    each = max(min(OF_CATEGORY, IN_ALL // max(len(members), 1)), 1)
    spread = [_spread(indices, each) for indices in members.values()]
    hashed = hashes_of(source, np.concatenate(spread), watch) if spread else None
    return {
        "stage": stage,
        "source": source.name,
        "records": sum(map(len, members.values())),
        "categories": sorted(members),
        "images": sorted({bytes(one[:_BYTES]).hex() for one in hashed[0]}) if hashed else [],
    }


def with_entries(info: Mapping, entries: Sequence[Mapping]) -> list[dict]:
    """The ancestry that `info` holds and these entries, those that are there already once."""
    known = list(info.get(INFO_KEY, ()))
    return known + [dict(entry) for entry in entries if entry not in known]


def trained_before(
    info: Mapping, source: Source, categories: Collection[str] = (), watch: Watch = unwatched
) -> dict[str, str]:
    """Category to why, of those categories of a source (none: all) that any stage was trained on: as the same category
    of a dataset of the same name, or because its images were among those trained on.

    Images are only hashed where the ancestry holds hashes.
    """
    entries = info.get(INFO_KEY, ())
    members = _members(source, categories)
    found: dict[str, str] = {}
    for entry in entries:
        names = {normalised(name) for name in entry["categories"]} if entry["source"] == source.name else ()
        for category in members:
            if normalised(category) in names:
                found.setdefault(category, f"stage {entry['stage']}")
    left = {name: indices for name, indices in members.items() if name not in found}
    known = {bytes.fromhex(one): entry for entry in entries for one in entry["images"]}
    hashed = hashes_of(source, np.concatenate(list(left.values())), watch) if known and left else None
    if hashed is None:
        return found
    names = [name for name, indices in left.items() for _ in indices]
    heads = np.ascontiguousarray(hashed[0][:, :_BYTES])
    same: Counter[str] = Counter()
    by: dict[str, Mapping] = {}
    for place in positions_of(heads, np.frombuffer(b"".join(known), np.uint8).reshape(-1, _BYTES)):
        name = names[hashed[1][place]]
        same[name] += 1
        by.setdefault(name, known[bytes(heads[place])])
    return found | {
        name: f"stage {by[name]['stage']}, whose {by[name]['source']} shows at least {count} of its images"
        for name, count in same.items()
    }


def refuse_trained(checkpoint: object, seen: Mapping[str, str]) -> None:
    """Raises InputError that names the first of `seen`, what `trained_before` found; nothing where it found nothing."""
    if seen:
        raise InputError(
            f"{checkpoint} was trained on {few(seen)}: leave them out with --categories, or say --allow_trained, and "
            "the results will tell"
        )


def few(seen: Mapping[str, str]) -> str:
    """ "bolt (stage 2), nut (stage 3)": what `trained_before` found, the first few of it."""
    named = ", ".join(f"{category} ({why})" for category, why in list(seen.items())[:NAMED])
    return named + (f" and {len(seen) - NAMED} more categories" if len(seen) > NAMED else "")


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, first and last included."""
    return indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)]


def _members(source: Source, categories: Collection[str]) -> dict[str, np.ndarray]:
    """Category to int64 indices of its records, in order."""
    found: dict[str, list[int]] = {}
    for index, record in enumerate(source.records):
        if not categories or record.category in categories:
            found.setdefault(record.category, []).append(index)
    return {name: np.array(indices, np.int64) for name, indices in found.items()}
