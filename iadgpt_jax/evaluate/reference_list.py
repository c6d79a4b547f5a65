"""Reference lists: for MVTec-AD and VisA the references of every draw are checked in, by the names of published files.

    reference_lists/<name>.json    {"dataset", "files", "published": {category: number of training files},
                                    "draws": [{category: [key, …]}, …]}        k shots are the first k keys

`tools/reference_lists.py` makes them. A list fits a dataset that has all published training files of the categories
asked about, under their published names, in whatever folders.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iadgpt_jax.errors import InputError

FOLDER = Path(__file__).parent / "reference_lists"
AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class ReferenceList:
    """One list. name: of its file; published: training files by category; draws: ordered keys by category."""

    name: str
    dataset: str
    published: Mapping[str, int]
    draws: Sequence[Mapping[str, Sequence[str]]]

    def choose(self, draw: int, category: str, keys: Sequence[str], most: int) -> list[int]:
        """The places in `keys`, those of a category's good training images, of a draw's first `most` references.

        Raises:
          InputError: the list has no such draw or category or fewer references, or names an image that is not there.
        """
        if fault := self._fault(draw + 1, category, most):
            raise InputError(f"{fault}; say --references_list={NONE} to draw references")
        places = {file_name(key): place for place, key in enumerate(keys)}
        wanted = [file_name(key) for key in self.draws[draw][category][:most]]
        if missing := [name for name in wanted if name not in places]:
            raise InputError(
                f"the reference list {self.name} names {missing[0]} of {category}, which the dataset has not among its "
                f"good training images; say --references_list={NONE} to draw references"
            )
        return [places[name] for name in wanted]

    def misfit(self, keys: Mapping[str, Sequence[str]], draws: int, most: int) -> str:
        """Why the list does not fit these good training images {category: keys} at so many draws and shots; "" if it
        does."""
        for category, found in keys.items():
            if fault := self._fault(draws, category, most):
                return fault
            published = self.published[category]
            if len(found) != published:
                return f"{category} has {len(found)} good training images, {self.dataset} has {published}"
            names = {file_name(key) for key in found}
            for draw in self.draws[:draws]:
                for key in draw[category][:most]:
                    if file_name(key) not in names:
                        return f"{category} has no training image {file_name(key)}, which {self.dataset} has"
        return ""

    def _fault(self, draws: int, category: str, most: int) -> str:
        if category not in self.published:
            return f"the reference list {self.name} has no category {category}"
        if draws > len(self.draws):
            return f"the reference list {self.name} has {len(self.draws)} draws"
        if any(len(draw[category]) < most for draw in self.draws[:draws]):
            return f"the reference list {self.name} has {len(self.draws[0][category])} references a draw"
        return ""


def file_name(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def checked_in() -> list[str]:
    """Names of the lists in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_list(named: str) -> ReferenceList:
    """A list of the package by its name, or any by its file. Raises InputError where there is none."""
    path = FOLDER / f"{named}.json" if named in checked_in() else Path(named)
    try:
        content = json.loads(path.read_text())
        draws = [{category: tuple(keys) for category, keys in draw.items()} for draw in content["draws"]]
        return ReferenceList(path.stem, content["dataset"], content["published"], draws)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"--references_list={named} cannot be read ({error}); choose {AUTO}, {NONE}, {', '.join(checked_in())} or "
            "a file that tools/reference_lists.py wrote"
        ) from error


def find_list(
    asked: str, keys: Mapping[str, Sequence[str]], draws: int, most: int, seed: int
) -> tuple[ReferenceList | None, str]:
    """The list that `--references_list=asked` means, and a line about it for people ("" where there is nothing to say).

    Args:
      asked: AUTO: the list of the package that fits, if any; NONE; a list's name or file.
      keys: of the good training images of the categories that lend references.
      draws, most, seed: how many draws, references in each, and --seed. Another seed than 0 asks for other references.

    Raises:
      InputError: there is no such list, or one that was asked for by name does not fit.
    """
    if asked == NONE:
        return None, ""
    if asked != AUTO:
        found = read_list(asked)
        if fault := found.misfit(keys, draws, most):
            raise InputError(f"--references_list={asked} does not fit: {fault}; choose {AUTO} or {NONE}")
        return found, f"references: those of the list {found.name}"
    for name in checked_in():
        found = read_list(name)
        if not set(keys) <= set(found.published):
            continue
        fault = f"--seed={seed} asks for others" if seed else found.misfit(keys, draws, most)
        if not fault:
            return found, f"references: those of the list {name} of {found.dataset}"
        return None, f"references are drawn, not those of the list {name}: {fault}"
    return None, ""


def good_keys(keys: Sequence[str], pools: Mapping, categories: Collection[str]) -> dict[str, list[str]]:
    """Keys of the good samples that references come from, by category: of these categories, or of all."""
    found: dict[str, list[str]] = {}
    for (name, _), pool in pools.items():
        if not categories or name in categories:
            found.setdefault(name, []).extend(keys[index] for index in pool.references)
    return found
