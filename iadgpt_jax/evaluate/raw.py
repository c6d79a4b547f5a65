"""The raw results of an evaluation on disk: everything its metrics follow from, and nothing that needs a model.

    raw/settings.json                  what was evaluated, and how: `decides` holds all that a raw file follows from
    raw/queries/<category>.npz         keys, labels, masks: see `Queries`
    raw/draw-<d>/<category>.npz        shots, margins, maps: see `Scores`

A file appears whole or not at all, so what is there need not be made again. Categories are named as `file_stem` says;
settings.json lists them. Nothing here imports JAX.

Sizes: n queries of a category in the order of its queries file, H × W pixels of a mask, h × w cells of a map, K shots.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from iadgpt_jax.errors import InputError
from iadgpt_jax.whole_file import PARTIAL, whole_file, write_json

FORMAT = 1
LONGEST_STEM = 120  # file systems allow 255 bytes
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Queries:
    """Of one category: keys str[n], labels bool[n] (True: defective), masked bool[n] (False: defective, but nobody drew
    where), and masks of side × side bits, packed: uint8[n, ceil(H·W/8)]. shape: (H, W)."""

    keys: np.ndarray
    labels: np.ndarray
    masked: np.ndarray
    masks: np.ndarray
    shape: tuple[int, int]


@dataclass(frozen=True)
class Scores:
    """Of one category in one draw: margins float32[K, n] and maps float32[K, n, h, w] on the token grid, raw."""

    shots: tuple[int, ...]
    margins: np.ndarray
    maps: np.ndarray


class RawFolder:
    """The folder raw/ of an evaluation directory."""

    def __init__(self, evaluation: str | Path):
        self.evaluation = Path(evaluation)
        self.directory = self.evaluation / "raw"

    # ---- Settings ----

    def settings(self) -> dict[str, Any]:
        """What settings.json says. Raises InputError where there is none that can be read."""
        path = self.directory / SETTINGS
        try:
            settings = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise InputError(f"no {path}: {self.evaluation} is no evaluation directory with raw results") from error
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {error}; evaluate again into another folder") from error
        if not isinstance(settings, dict) or settings.get("format") != FORMAT:
            raise InputError(f"{path} is not of format {FORMAT}; evaluate again into another folder")
        return settings

    def begin(self, decides: Mapping[str, Any], told: Mapping[str, Any]) -> int:
        """Start, or go on with, an evaluation; how many raw files are there already.

        decides: all that a raw file follows from, as JSON values; told: whatever else settings.json should say. Files
        that were cut off while they were written are removed.

        Raises:
          InputError: the folder holds raw files of other settings, or cannot be written.
        """
        if (self.directory / SETTINGS).exists():
            self.refuse_others(decides)
        for left in self.directory.rglob(f"{PARTIAL}*"):
            left.unlink(missing_ok=True)
        write_json(self.directory / SETTINGS, {"format": FORMAT, "decides": dict(decides), **told})
        return sum(1 for _ in self.directory.rglob("*.npz"))

    def refuse_others(self, decides: Mapping[str, Any]) -> None:
        """Raises InputError where the folder is not of these settings."""
        before, decides = self.settings().get("decides", {}), json.loads(json.dumps(decides))
        if changed := [name for name in {**before, **decides} if before.get(name) != decides.get(name)]:
            values = ", ".join(
                f"{name} {_short(before.get(name))}, now {_short(decides.get(name))}" for name in changed
            )
            raise InputError(
                f"{self.directory} holds results of other settings ({values}): choose another --out, or remove it"
            )

    # ---- Files of a category ----

    def has_queries(self, category: str) -> bool:
        return _is_whole(self._queries_path(category))

    def has_scores(self, draw: int, category: str) -> bool:
        return _is_whole(self._scores_path(draw, category))

    def write_queries(self, category: str, queries: Queries) -> None:
        write_arrays(self._queries_path(category), **vars(queries))

    def write_scores(self, draw: int, category: str, scores: Scores) -> None:
        write_arrays(self._scores_path(draw, category), **vars(scores))

    def queries(self, category: str) -> Queries:
        """Raises InputError where the file is missing or damaged."""
        arrays = _read(self._queries_path(category), Queries)
        arrays["shape"] = tuple(int(side) for side in arrays["shape"])
        return Queries(**arrays)

    def scores(self, draw: int, category: str) -> Scores:
        """Raises InputError where the file is missing or damaged, or does not go with the category's queries file."""
        arrays = _read(self._scores_path(draw, category), Scores)
        arrays["shots"] = tuple(int(k) for k in arrays["shots"])
        return Scores(**arrays)

    def _queries_path(self, category: str) -> Path:
        return self.directory / "queries" / f"{file_stem(category)}.npz"

    def _scores_path(self, draw: int, category: str) -> Path:
        return self.directory / f"draw-{draw}" / f"{file_stem(category)}.npz"


class Masks(Sequence[np.ndarray]):
    """The masks of `Queries`, uint8[H, W] in {0, 1} each, unpacked when asked for."""

    def __init__(self, queries: Queries):
        self._packed, self._shape = queries.masks, queries.shape

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index):
        high, wide = self._shape
        return np.unpackbits(self._packed[index], count=high * wide).reshape(high, wide)


def pack_masks(masks: Sequence[np.ndarray | None], shape: tuple[int, int]) -> np.ndarray:
    """uint8[n, ceil(H·W/8)] of masks uint8[H, W]; None packs as nothing defective."""
    empty = np.zeros(shape, bool)
    return np.stack([np.packbits(empty if mask is None else np.asarray(mask) != 0) for mask in masks])


def file_stem(name: str) -> str:
    """A category's or dataset's name as the name of a file or folder: letters, digits, "_", "-", "~" and "." stay,
    other characters become %XX, as does a leading dot; long names are cut and end with a hash of the whole."""
    stem = quote(name.encode(errors="surrogatepass"), safe="")
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if len(stem) > LONGEST_STEM:
        stem = stem[:LONGEST_STEM] + "~" + sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    return stem or "%"


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write a compressed .npz file, whole or not at all. The same arrays give the same bytes."""
    with whole_file(path) as stream:
        np.savez_compressed(stream, **arrays)


def _is_whole(path: Path) -> bool:
    """Whether a file is there with its table of contents, which an .npz file has at its end."""
    return zipfile.is_zipfile(path)


def _read(path: Path, kind: type) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in kind.__annotations__}
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        why = "it is missing" if isinstance(error, FileNotFoundError) else f"it is damaged ({error})"
        raise InputError(f"cannot read {path}: {why}; remove it, and evaluate again into the same folder") from error


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
