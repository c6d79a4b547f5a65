"""Evaluation data stays out of training: by the names of its categories, and by the pixels of its images.

A record is kept out where its category has the name of an evaluation category (case, spaces, "_" and "-" aside), where
it is a conversation about an image in a folder of that name, or where one of its images has the pixels of an evaluation
image. Names: those of the BENCHMARKS and of the datasets in config.leakage.evaluation. Pixels: of the latter, since
only they lie on disk. Products that are drawn have nothing in common with any photograph, so only their names are
looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.pixel_hashes import Watch, hashes_of, unwatched
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.sources.subset import Subset
from iadgpt_jax.errors import InputError

BENCHMARKS: Mapping[str, tuple[str, ...]] = {
    "mvtec_ad": (
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
        "toothbrush", "transistor", "wood", "zipper",
    ),
    "visa": (
        "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3",
        "pcb4", "pipe_fryum",
    ),
}  # fmt: skip
NAMED = 3  # records that a refusal names before it only counts


def without_leakage(
    source: Source,
    leakage: Mapping[str, Any],
    categories: Collection[str] = (),
    say: Callable[[str], None] = print,
    watch: Watch = unwatched,
) -> Source:
    """The source, if it holds nothing of evaluation data; or with leakage["drop"] what is left of it without that.

    Args:
      leakage: config.leakage. benchmarks: names in BENCHMARKS; evaluation: prepared datasets or folders; allow:
        categories that share their name with an evaluation category and are another product (their pixels are compared
        all the same); drop: leave records out instead of refusing.
      categories: only records of these are looked at, and trained on; none: all.
      say: told what was left out. watch: may report progress over files that are hashed.

    Raises:
      InputError: records belong to evaluation data, an unknown benchmark, or an evaluation dataset that is not there.
    """
    records = source.records
    indices = np.array([i for i, one in enumerate(records) if not categories or one.category in categories], np.int64)
    held_out = [open_source(spec, side=None) for spec in leakage["evaluation"]]
    why = _by_name(source, indices, _names(leakage, held_out))
    for index, shown in _by_pixels(source, indices, held_out, watch).items():
        why.setdefault(index, shown)
    if not why:
        return source
    found = f"{len(why)} of {len(indices)} records of {source.name} belong to evaluation data: {_few(source, why)}"
    if not leakage["drop"]:
        raise InputError(
            f"{found}; leave their categories out, or these records with --config.leakage.drop=True, or name other "
            "products of the same name in config.leakage.allow (docs/data.md, Evaluation data)"
        )
    kept = np.array([index for index in range(len(records)) if index not in why], np.int64)
    if not len(kept):
        raise InputError(f"{found}, and nothing is left to train on; choose another source")
    say(f"left out: {found}")
    return Subset(source, kept)


def normalised(name: str) -> str:
    """A category's name without case, spaces and punctuation: "Metal Nut" is metal_nut."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _names(leakage: Mapping[str, Any], held_out: Sequence[Source]) -> dict[str, str]:
    """Normalised name to what people are told of it."""
    if unknown := sorted(set(leakage["benchmarks"]) - set(BENCHMARKS)):
        raise InputError(
            f"no benchmark {', '.join(unknown)} in config.leakage.benchmarks; choose of {', '.join(BENCHMARKS)}"
        )
    named = [(category, name) for name in leakage["benchmarks"] for category in BENCHMARKS[name]]
    named += [(category, one.name) for one in held_out for category in {record.category for record in one.records}]
    allowed = {normalised(name) for name in leakage["allow"]}
    return {
        normalised(category): f"{category} is a category of {name}"
        for category, name in named
        if normalised(category) not in allowed
    }


def _by_name(source: Source, indices: np.ndarray, names: Mapping[str, str]) -> dict[int, str]:
    """Index to why, of the records whose category or folder has one of the names."""
    records, keys = source.records, getattr(source, "keys", None)
    of_category = {category: names.get(normalised(category)) for category in {one.category for one in records}}
    found = {}
    for index in indices.tolist():
        shown = of_category[records[index].category]
        if shown is None and records[index].exchanges and keys is not None:
            shown = next((names[one] for one in map(normalised, _folders(keys[index])) if one in names), None)
        if shown is not None:
            found[index] = shown
    return found


def _folders(key: str) -> list[str]:
    """The folders of every image that a conversation's key names."""
    images = key.partition("#")[0].split("+")
    return [folder for image in images for folder in image.split("/")[:-1]]


def _by_pixels(source: Source, indices: np.ndarray, held_out: Sequence[Source], watch: Watch) -> dict[int, str]:
    """Index to why, of the records that show an image of an evaluation dataset."""
    known: dict[bytes, tuple[Source, int]] = {}
    for one in held_out:
        hashed = hashes_of(one, np.arange(len(one)), watch)
        for hash_, owner in zip(*hashed, strict=True) if hashed else ():
            known[bytes(hash_)] = one, int(owner)
    hashed = hashes_of(source, indices, watch) if known else None
    if hashed is None:
        return {}
    found = {}
    for place in positions_of(hashed[0], np.frombuffer(b"".join(known), np.uint8).reshape(-1, 32)):
        one, number = known[bytes(hashed[0][place])]
        found[int(indices[hashed[1][place]])] = f"the pixels of {one.keys[number]} in {one.name}"
    return found


def positions_of(hashes: np.ndarray, known: np.ndarray) -> list[int]:
    """Which of uint8[N, W] hashes are among uint8[M, W]; W at least 8."""
    first, of_known = (np.ascontiguousarray(one[:, :8]).view(np.uint64)[:, 0] for one in (hashes, known))
    wanted = {bytes(one) for one in known}
    return [int(i) for i in np.flatnonzero(np.isin(first, of_known)) if bytes(hashes[i]) in wanted]


def _few(source: Source, why: Mapping[int, str]) -> str:
    """The first few of them, with why."""
    keys = getattr(source, "keys", None)
    shown = [
        f"{source.records[index].category if keys is None else keys[index]} ({why[index]})"
        for index in sorted(why)[:NAMED]
    ]
    return "; ".join(shown) + (", …" if len(why) > NAMED else "")
