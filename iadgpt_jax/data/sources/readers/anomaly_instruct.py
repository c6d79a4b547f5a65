"""Anomaly-Instruct-125k: conversations about images in LLaVA's form, in any number of .json files below the folder:

    [{"image": path or [paths],
      "conversations": [{"from": "human", "value": "<image>\\n…"}, {"from": "gpt", "value": …}, …]}]

Paths are relative to the JSON file or to the root. One entry is one conversation. Images that lie in MVTec layout
(<category>/test/<defect>/NNN.png) give category, split and verdict; of others nobody said whether they are defective,
and the category is the folder of the image. The key names every image: a.png+b.png#file-number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iadgpt_jax.data.sources.entry import TRAIN, Entry
from iadgpt_jax.data.sources.json_files import read_json
from iadgpt_jax.data.sources.readers.mvtec_layout import GOOD, SPLITS
from iadgpt_jax.data.sources.sample import IMAGE_MARK, Exchange
from iadgpt_jax.data.sources.tree import Tree, join, stem
from iadgpt_jax.errors import InputError

ROLES = {"human": "question", "user": "question", "gpt": "answer", "assistant": "answer"}


def read(tree: Tree) -> Iterator[Entry]:
    """Every conversation that names an image. Raises InputError where no JSON file holds any."""
    found = False
    for path in _json_files(tree):
        items = read_json(tree, path)
        if not isinstance(items, list):
            if items is not None:
                tree.leave_out(path, "not a list of conversations")
            continue
        tree.note(f"conversations: {path} ({len(items)})")
        for number, item in enumerate(items):
            entry, fault = _conversation(tree, path, number, item)
            if entry is None:
                tree.leave_out(f"{path}[{number}]", fault)
            else:
                found = True
                yield entry
    if not found:
        raise InputError(f"no conversations in the .json files of {tree.root}; name the folder that holds them")


def _json_files(tree: Tree, folder: str = "", depth: int = 3) -> Iterator[str]:
    yield from (join(folder, name) for name in tree.files(folder) if name.endswith(".json"))
    if depth:
        for inner in tree.folders(folder):
            yield from _json_files(tree, join(folder, inner), depth - 1)


def _conversation(tree: Tree, path: str, number: int, item: Any) -> tuple[Entry | None, str]:
    """The entry of one item of a list, or None and what is wrong with it."""
    if not isinstance(item, dict):
        return None, "not a conversation"
    named = item.get("image")
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not named or not all(isinstance(name, str) and name for name in named):
        return None, "names no image"
    images = [_locate(tree, path, name) for name in named]
    if missing := [name for name, image in zip(named, images, strict=True) if image is None]:
        return None, f"no such image: {', '.join(missing)}"
    exchanges = exchanges_of(item.get("conversations"), len(images))
    if isinstance(exchanges, str):
        return None, exchanges
    category, split, defect = facts_of(images[0])
    key = f"{'+'.join(images)}#{stem(path)}-{number}"
    return Entry(key, images[0], category, split, defect, more_images=tuple(images[1:]), exchanges=exchanges), ""


def exchanges_of(turns: Any, images: int) -> tuple[Exchange, ...] | str:
    """The exchanges of a list of turns in LLaVA's form, marks for `images` images in their questions; or what is
    wrong."""
    if not isinstance(turns, list) or not turns:
        return "no conversation"
    texts: list[str] = []
    for number, turn in enumerate(turns):
        named = (turn.get("from") or turn.get("role")) if isinstance(turn, dict) else None
        role = ROLES.get(named) if isinstance(named, str) else None
        value = turn.get("value", turn.get("content")) if isinstance(turn, dict) else None
        if role != ("question", "answer")[number % 2] or not isinstance(value, str) or not value.strip():
            return f"turn {number} is not a {('question', 'answer')[number % 2]} in words"
        texts.append(value.strip())
    if len(texts) % 2:
        return "the last question has no answer"
    marks = sum(text.count(IMAGE_MARK) for text in texts[::2])
    if marks == 0:  # shown first, then
        texts[0] = IMAGE_MARK * images + "\n" + texts[0]
    elif marks != images:
        return f"{marks} marks {IMAGE_MARK} for {images} images"
    return tuple(Exchange(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=True))


def facts_of(image: str) -> tuple[str, str, str | None]:
    """(category, split, defect as in `Entry`) as far as an image's path says."""
    parts = image.split("/")
    for place in range(len(parts) - 3, 0, -1):  # <category>/<split>/<kind>/NNN.png
        if parts[place] in SPLITS and place + 2 < len(parts):
            kind = parts[place + 1]
            return parts[place - 1], SPLITS[parts[place]], None if kind in GOOD else kind
    return (parts[-2] if len(parts) > 1 else "images"), TRAIN, ""


def _locate(tree: Tree, path: str, name: str) -> str | None:
    """Where an image is, beside the JSON file or from the root."""
    folder = path.rpartition("/")[0]
    return next((place for place in (join(folder, name), name) if tree.exists(place)), None)
