"""The few-shot protocol: which references and which queries, under which control, drawn or from a published list.

A draw picks an ordered set of references per category, or per viewpoint where a category has several; k shots are its
first k, so one prefix of references serves every shot count. References and draws are named in the result, so a number
can be reproduced.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from iadgpt_jax.data.sources.entry import VALIDATION
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.reference_list import ReferenceList

CONTROLS = ("own", "wrong", "none")
REFERENCE_POOL = 8  # good samples set aside for references where the source does not split itself


@dataclass(frozen=True)
class CategoryPlan:
    """One category of one draw, from one viewpoint: indices of its ordered references and of its queries, none of which
    is a reference."""

    category: str
    references: tuple[int, ...]
    queries: tuple[int, ...]
    viewpoint: str = ""  # "": the category has one only


@dataclass(frozen=True)
class Pool:
    """Of one category from one viewpoint: indices of good samples that references are drawn from, and of queries."""

    references: tuple[int, ...]
    queries: tuple[int, ...]


Pools = dict[tuple[str, str], Pool]  # (category, viewpoint) -> …


def pools_of(source: Source) -> Pools:
    """What may be a reference, and what is a query, in the order of the source's categories.

    References come from good samples of the train split where the source has one, otherwise from the first
    REFERENCE_POOL good ones; queries are all other test samples.
    """
    references: dict[tuple[str, str], list[int]] = {}
    queries: dict[tuple[str, str], list[int]] = {}
    has_train = any(record.split == "train" for record in source.records)
    for index, record in enumerate(source.records):
        if record.defective is None or record.split == VALIDATION:
            continue  # nobody says whether it is good, or it is there to choose settings by: no reference and no query
        group = record.category, record.viewpoint
        pool, rest = references.setdefault(group, []), queries.setdefault(group, [])
        spare = record.split == "train" if has_train else len(pool) < REFERENCE_POOL
        if not record.defective and spare:
            pool.append(index)
        elif record.split != "train":
            rest.append(index)
    turn = list(dict.fromkeys(category for category, _ in references))
    ordered = sorted(references, key=lambda group: (turn.index(group[0]), group[1]))
    return {group: Pool(tuple(references[group]), tuple(queries[group])) for group in ordered}


def draw_plans(
    source: Source,
    shots: Sequence[int],
    draw: int,
    seed: int = 0,
    references: str = "own",
    categories: Collection[str] | None = None,
    listed: ReferenceList | None = None,
    pools: Pools | None = None,
) -> list[CategoryPlan]:
    """The plans of one draw, by category and viewpoint; categories without queries have none.

    What is drawn for a category follows from the seed, the draw, its name and its own good samples alone: the same with
    other categories around it, or with only some of them evaluated.

    Args:
      references: "own" category's, a "wrong" category's (that of the next name), or "none" shown.
      categories: only these; empty: all.
      listed: references are those that this list names, instead of drawn.
      pools: those of the source (`pools_of`), where they are known already.

    Raises:
      InputError: a category is unknown or has too few good samples, the list names others than are there, nothing has
        queries, or there is no other category to lend wrong references.
    """
    if references not in CONTROLS:
        raise ValueError(f"references={references!r}: choose one of {CONTROLS}")
    pools = pools_of(source) if pools is None else pools
    names, most = list(dict.fromkeys(category for category, _ in pools)), max(shots)
    if unknown := sorted(set(categories or ()) - set(names)):
        raise InputError(f"source {source.name} has no category {', '.join(unknown)}; it has {', '.join(names)}")
    if references == "wrong" and len(names) < 2:
        raise InputError(f"source {source.name} holds {names[0]} alone: no other category can lend wrong references")
    keys = keys_of(source) if listed else ()
    turn = sorted(names)
    plans = []
    for (name, viewpoint), own in pools.items():
        if (categories and name not in categories) or not own.queries:
            continue
        lender = turn[(turn.index(name) + 1) % len(turn)] if references == "wrong" else name
        pool = lent(pools, lender, viewpoint)
        if len(pool) < most:
            told = f"{name} from viewpoint {viewpoint}" if viewpoint else name
            raise InputError(
                f"category {told} of {source.name} cannot be evaluated at {most} shots: it needs {most} good reference "
                f"images of {lender} (found {len(pool)}); choose fewer --shots, or leave it out with --categories"
            )
        if listed:
            chosen = listed.choose(draw, lender, [keys[index] for index in pool], most)
        else:
            chosen = shuffled(len(pool), seed, draw, name, viewpoint)[:most]
        plans.append(CategoryPlan(name, tuple(pool[i] for i in chosen), own.queries, viewpoint))
    if not plans:
        raise InputError(f"source {source.name} has no test images of known verdict: nothing can be evaluated")
    return plans


def without_queries(pools: Pools, categories: Collection[str] | None = None) -> list[str]:
    """Categories (of these, or of all) of which there is nothing to inspect."""
    asked = {name for (name, _), pool in pools.items() if pool.queries}
    names = dict.fromkeys(name for name, _ in pools)
    return [name for name in names if name not in asked and (not categories or name in categories)]


def lent(pools: Pools, category: str, viewpoint: str) -> tuple[int, ...]:
    """The good samples of a category from a viewpoint; from all of its own, where it has not that one."""
    if (category, viewpoint) in pools:
        return pools[category, viewpoint].references
    return tuple(index for (name, _), pool in pools.items() if name == category for index in pool.references)


def shuffled(count: int, seed: int, draw: int, category: str, viewpoint: str = "") -> list[int]:
    """The order in which `count` good samples are drawn as references."""
    named = category.encode(errors="surrogatepass")
    if viewpoint:
        named += b"\0" + viewpoint.encode(errors="surrogatepass")
    return np.random.default_rng([seed, draw, *named]).permutation(count).tolist()


def keys_of(source: Source) -> Sequence[str]:
    """The key of every index; sources that list them need not load a sample for it."""
    keys = getattr(source, "keys", None)
    return keys if keys is not None else [source[index].key for index in range(len(source))]
