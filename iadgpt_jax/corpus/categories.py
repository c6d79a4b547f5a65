"""The products that images are searched for: a text file, one name a line, lines with # are headings."""

from __future__ import annotations

from pathlib import Path

from iadgpt_jax.errors import InputError

OURS = Path(__file__).with_name("categories.txt")


def read_categories(path: Path = OURS) -> list[str]:
    """The names in a file, in its order. Raises InputError for a missing file, an empty one and a name that stands
    there twice."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; --categories names a text file, one product a line") from error
    names: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = " ".join(line.split())
        if not name or name.startswith("#"):
            continue
        if name in names:
            raise InputError(f"{path}, line {number}: {name} stands in line {names[name]} already; remove one")
        if "/" in name or name.startswith("."):
            raise InputError(f"{path}, line {number}: {name} cannot be a folder's name; write words")
        names[name] = number
    if not names:
        raise InputError(f"no category in {path}; write one product a line")
    return list(names)


def folder_of(category: str) -> str:
    """The folder that holds a category's images: "hex bolt" is hex_bolt."""
    return category.replace(" ", "_")
