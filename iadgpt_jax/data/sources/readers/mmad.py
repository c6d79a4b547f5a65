"""MMAD: multiple-choice questions about images of four datasets, in mmad.json beside them:

    {"DS-MVTec/bottle/image/broken_large/000.png": {
        "conversation": [{"Question", "Answer", "Options": {"A": …}, "type"}],
        "mask_path": …, "similar_templates": […], "random_templates": […]}}

A mask's path is relative to the category's folder, or the one above the image's. The first of the similar templates,
four at most, are the image's references, as many of the random ones its random references; they are entries of their
own in the split train, good and without questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iadgpt_jax.data.sources.entry import TEST, TRAIN, Entry
from iadgpt_jax.data.sources.json_files import read_json
from iadgpt_jax.data.sources.readers.mvtec_layout import GOOD
from iadgpt_jax.data.sources.sample import IMAGE_MARK, Exchange
from iadgpt_jax.data.sources.tree import Tree, join
from iadgpt_jax.errors import InputError

INDEX = "mmad.json"
SHOWN = 4  # templates


def read(tree: Tree) -> Iterator[Entry]:
    """Every image of the index, then every template. Raises InputError where the index is missing or not one."""
    if not tree.exists(INDEX):
        raise InputError(
            f"no {INDEX} in {tree.root}; name the folder that holds it, DS-MVTec, MVTec-LOCO, VisA, GoodsAD"
        )
    index = read_json(tree, INDEX)
    if not isinstance(index, dict):
        raise InputError(f"{tree.path(INDEX)} does not map images to questions; download it again")
    templates: dict[str, None] = {}
    for image, value in index.items():
        parts = image.split("/")
        exchanges = _exchanges(value)
        if len(parts) < 3:
            exchanges = "an image's path should be <dataset>/<category>/…"
        elif not tree.exists(image):
            exchanges = "no such image"
        if isinstance(exchanges, str):
            tree.leave_out(f"{INDEX}: {image}", exchanges)
            continue
        kind = parts[-2]
        similar, random = (
            _references(tree, image, value.get(name)) for name in ("similar_templates", "random_templates")
        )
        templates.update(dict.fromkeys((*similar, *random)))
        good = kind in GOOD
        masks = () if good else _masks(tree, image, value.get("mask_path"))
        yield Entry(
            image, image, parts[1], TEST, None if good else kind, masks, exchanges=exchanges,
            references=similar, random_references=random,
        )  # fmt: skip
    for template in templates:
        if template not in index:
            yield Entry(template, template, template.split("/")[1], TRAIN, None)


def _exchanges(value: Any) -> tuple[Exchange, ...] | str:
    """The questions about an image, which is shown with the first; or what is wrong with them."""
    asked = value.get("conversation") if isinstance(value, dict) else None
    if not isinstance(asked, list) or not asked:
        return "no questions"
    made = []
    for number, one in enumerate(asked):
        if not isinstance(one, dict) or not isinstance(one.get("Options"), dict) or not one.get("Question"):
            return f"question {number} has no text or no options"
        options, answer = one["Options"], one.get("Answer")
        if not isinstance(answer, str) or answer not in options:
            return f"question {number} has the answer {answer}, which is none of its options"
        question = str(one["Question"]) if number else f"{IMAGE_MARK}\n{one['Question']}"
        told = tuple(f"{letter}: {text}" for letter, text in options.items())
        made.append(Exchange(question, answer, told, str(one.get("type", ""))))
    return tuple(made)


def _references(tree: Tree, image: str, named: Any) -> tuple[str, ...]:
    usable = [
        name for name in (named if isinstance(named, list) else ()) if isinstance(name, str) and name.count("/") > 1
    ]
    shown = tuple(dict.fromkeys(usable[:SHOWN]))
    missing = [name for name in shown if not tree.exists(name)]
    for name in missing:
        tree.leave_out(f"{INDEX}: {image}", f"no such template: {name}; it is shown without")
    return tuple(name for name in shown if name not in missing)


def _masks(tree: Tree, image: str, named: Any) -> tuple[str, ...]:
    """The mask of an image, wherever it lies; where the index says if it lies nowhere."""
    if not isinstance(named, str) or not named:
        return ()
    parts = image.split("/")
    places = (join(*parts[:2], named), join(*parts[:3], named), named)
    return (next((place for place in places if tree.exists(place)), places[0]),)
