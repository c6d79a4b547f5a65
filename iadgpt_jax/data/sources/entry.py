"""What a reader says of one image before any pixel is read, and what it says of a file that is left out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iadgpt_jax.data.sources.sample import Defect, Exchange, Record

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # of characters, as JSON can hold them and file names cannot
CAPTIONS = 3  # perspectives: shape; material and structure; surface


@dataclass(frozen=True)
class Entry:
    """One image of a dataset. Paths are relative to the dataset's folder, with forward slashes.

    `defect` is None on good parts and "" where nobody said; else what is wrong, as the dataset calls it. With
    `mask_decides` nothing but the mask tells: an all-black one means a good part, any other one this defect.
    """

    key: str  # unique in the dataset
    image: str
    category: str
    split: str
    defect: str | None
    masks: tuple[str, ...] = ()  # united
    mask_decides: bool = False
    viewpoint: str = ""
    captions: tuple[str, ...] = ()
    cause: str = ""
    remedy: str = ""
    more_images: tuple[str, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    references: tuple[str, ...] = ()  # keys
    random_references: tuple[str, ...] = ()  # keys

    @property
    def kind(self) -> str:
        """The defect in words: "bent_pin" is a bent pin."""
        return (self.defect or "").replace("_", " ").strip()

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it takes."""
        return (self.image, *self.masks, *self.more_images)

    def facts(self) -> Defect | None:
        """Kind, cause and remedy; None on good parts and where no kind is known."""
        return Defect(self.kind, self.cause, self.remedy) if self.kind else None

    def record(self, masked: bool) -> Record:
        """The record of this entry, whose verdict is known. masked: whether there is a usable mask."""
        defective = None if self.defect == "" else self.defect is not None
        return Record(
            self.category, self.split, defective, self.viewpoint, self.kind, masked, any(self.captions),
            len(self.exchanges),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, without what has its default."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name in ("defect",) or getattr(self, field.name) != field.default
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Entry:
        """The entry that `to_json` wrote."""
        made = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        if "exchanges" in made:
            made["exchanges"] = tuple(exchange_from_json(value) for value in made["exchanges"])
        return cls(**made)


@dataclass(frozen=True)
class LeftOut:
    """A file, or with `count` several, that is not part of the prepared dataset, and why."""

    path: str
    why: str
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; of a name that is not Unicode, the bytes that are not are written as \\xNN."""
        told = {name: _printable(getattr(self, name)) for name in ("path", "why")}
        return told | ({"count": self.count} if self.count != 1 else {})


def exchange_to_json(exchange: Exchange) -> dict[str, Any]:
    """As a JSON object, without empty options and type."""
    made = {"question": exchange.question, "answer": exchange.answer}
    if exchange.options:
        made["options"] = list(exchange.options)
    return made | ({"type": exchange.type} if exchange.type else {})


def exchange_from_json(values: Mapping[str, Any]) -> Exchange:
    """The exchange that `exchange_to_json` wrote."""
    return Exchange(values["question"], values["answer"], tuple(values.get("options", ())), values.get("type", ""))


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: file names and JSON can hold what cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    if is_unicode(text):
        return text
    escaped = _HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return escaped.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [exchange_to_json(item) if isinstance(item, Exchange) else item for item in value]
    return value
