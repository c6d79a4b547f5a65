"""One dataset to evaluate: its plans for every draw, what they follow from, and the directory its results go to.

Nothing here loads a model or imports JAX; `launch/evaluate.py` puts the parts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.protocol import CategoryPlan, draw_plans, keys_of, pools_of, without_queries
from iadgpt_jax.evaluate.raw import file_stem
from iadgpt_jax.evaluate.reference_list import AUTO, ReferenceList, find_list, good_keys
from iadgpt_jax.evaluate.results import PROTOCOL
from iadgpt_jax.evaluate.work import indices_of
from iadgpt_jax.whole_file import write_json


@dataclass(frozen=True)
class Asked:
    """What is asked of every dataset. draws: how many; references: own, wrong or none; categories: none means all;
    reference_list: a name, a file, "auto" or "none"."""

    shots: tuple[int, ...]
    draws: int
    seed: int = 0
    references: str = "own"
    categories: tuple[str, ...] = ()
    reference_list: str = AUTO


@dataclass(frozen=True)
class Evaluation:
    """A dataset with the plans of every draw. spec: how it was named; source: at its own size, never to load from;
    listed: the reference list that was used; note: a line about references, "" where there is nothing to say; empty:
    categories that have nothing to inspect."""

    spec: str
    source: Source
    asked: Asked
    draws: list[list[CategoryPlan]]
    listed: ReferenceList | None
    note: str
    empty: list[str]

    @property
    def categories(self) -> list[str]:
        return list(dict.fromkeys(plan.category for plan in self.draws[0]))

    @property
    def queries(self) -> int:
        return sum(len(plan.queries) for plan in self.draws[0])

    def decides(self, *, digest: str, side: int, ratio: float, prompt: dict, map_space: str) -> dict[str, Any]:
        """All that a raw file follows from (`RawFolder.begin`). Not how many draws and which categories: files of one
        do not depend on the others."""
        return {
            "digest": digest, "dataset": self.source.name, "content": content_of(self.source), "side": side,
            "ratio": ratio, "prompt": prompt, "map_space": map_space, "shots": list(self.asked.shots),
            "seed": self.asked.seed, "references": self.asked.references,
            "reference_list": self.listed.name if self.listed else None,
        }  # fmt: skip

    def told(self) -> dict[str, Any]:
        """What settings.json says beside that."""
        return {
            "dataset": self.spec, "dataset_name": self.source.name, "draws": self.asked.draws,
            "categories": {name: file_stem(name) for name in self.categories}, "without_queries": self.empty,
        }  # fmt: skip

    def write_protocol(self, directory: Path) -> None:
        """protocol.json: what one needs to repeat the evaluation. The queries of every category and, per draw, its
        ordered references, of which k shots are the first k; by viewpoint where there are several."""
        listed = {index for plans in self.draws for plan in plans for index in (*plan.references, *plan.queries)}
        if hasattr(self.source, "keys"):
            every = keys_of(self.source)
            keys = {index: every[index] for index in listed}
        else:
            keys = {index: self.source[index].key for index in listed}
        shown = []
        for plans in self.draws:
            draw: dict[str, Any] = {}
            for plan in plans:
                named = [keys[index] for index in plan.references if self.asked.references != "none"]
                if plan.viewpoint:
                    draw.setdefault(plan.category, {})[plan.viewpoint] = named
                else:
                    draw[plan.category] = named
            shown.append(draw)
        queries = {name: [keys[index] for index in indices_of(self.draws[0], name)] for name in self.categories}
        name = self.listed.name if self.listed else None
        content = {"references": self.asked.references, "list": name, "draws": shown, "queries": queries}
        write_json(directory / PROTOCOL, content)


def plan_evaluation(spec: str, source: Source, asked: Asked) -> Evaluation:
    """The plans of a dataset. Raises InputError where it cannot be evaluated so."""
    pools = pools_of(source)
    # Which references there are is checked by the first draw, before anybody asks for those of a list.
    draw_plans(source, asked.shots, 0, asked.seed, asked.references, asked.categories, pools=pools)
    listed, note = None, ""
    if hasattr(source, "keys"):
        lenders = () if asked.references == "wrong" else asked.categories
        good = good_keys(keys_of(source), pools, lenders)
        listed, note = find_list(asked.reference_list, good, asked.draws, max(asked.shots), asked.seed)
    draws = [
        draw_plans(source, asked.shots, draw, asked.seed, asked.references, asked.categories, listed, pools)
        for draw in range(asked.draws)
    ]
    return Evaluation(spec, source, asked, draws, listed, note, without_queries(pools, asked.categories))


def content_of(source: Source) -> str:
    """16 hex digits that differ where a dataset holds other images, masks or verdicts."""
    digest = sha256(getattr(source, "content", b""))
    for record in source.records:
        told = f"{record.category}\0{record.split}\0{record.defective}\0{record.viewpoint}\n"
        digest.update(told.encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def directories(
    out: Path, evaluations: Sequence[Evaluation], ratios: Sequence[float]
) -> list[tuple[Evaluation, float, Path]]:
    """Where each dataset at each ratio goes: `out` itself if there is one alone, else folders by dataset and ratio."""
    if len(evaluations) == len(ratios) == 1:
        return [(evaluations[0], ratios[0], out)]
    names: dict[str, str] = {}
    for one in evaluations:
        stem = file_stem(one.source.name)
        if stem in names:
            raise InputError(
                f"--dataset={names[stem]} and {one.spec} are both called {one.source.name}: evaluate them into --out "
                "folders of their own"
            )
        names[stem] = one.spec
    found = []
    for one in evaluations:
        folder = out / file_stem(one.source.name)
        found += [(one, ratio, folder / f"ratio-{ratio:g}" if len(ratios) > 1 else folder) for ratio in ratios]
    return found
