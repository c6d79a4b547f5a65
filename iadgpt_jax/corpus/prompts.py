"""What is asked about every image: one file a version, prompts/<version>.json, which is never changed once it was used.

The version stands for all that an answer depends on besides image and model: words, size of the image sent, length of
the answer. A better wording is a new file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from iadgpt_jax.data.sources.entry import CAPTIONS
from iadgpt_jax.errors import InputError

FOLDER = Path(__file__).with_name("prompts")
LATEST = "v1"


@dataclass(frozen=True)
class Prompts:
    """One version. `perspectives` maps the three names, in the order of a record's captions, to questions in which
    {category} stands for the product's name; an image is sent with at most `image_side` pixels a side."""

    version: str
    image_side: int
    max_tokens: int
    system: str
    perspectives: dict[str, str]

    def question(self, perspective: str, category: str) -> str:
        return self.perspectives[perspective].replace("{category}", category.replace("_", " "))


def versions() -> list[str]:
    """All that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_prompts(version: str = LATEST) -> Prompts:
    """One version. Raises InputError where there is none of this name."""
    if version not in versions():
        raise InputError(f"no prompts {version}; there are {', '.join(versions())}")
    made = Prompts(**json.loads((FOLDER / f"{version}.json").read_text(encoding="utf-8")))
    assert made.version == version and len(made.perspectives) == CAPTIONS, f"prompts {version} are not whole"
    return made
