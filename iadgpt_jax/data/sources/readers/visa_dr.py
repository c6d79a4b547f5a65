"""VisA-D&R: questions about the images of VisA, in test_data.json (detection) and visa_dr.json (detection and
reasoning).

    test_data.json  [{"image": "VisA/candle/…/000.JPG", "anomaly": true}]      asked: is there a defect, yes or no
    visa_dr.json    [{"image": …, "questions": […], "answers": […]}]           answers where they are published

Both lie in the folder or in VisA below it; image paths are relative to the folder. Here "Yes" means defective. The
names of the keys are those that the publication's own evaluation reads; `answers` is not read there, so it may be
missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from iadgpt_jax.data.sources.entry import TEST, Entry
from iadgpt_jax.data.sources.json_files import read_json
from iadgpt_jax.data.sources.sample import IMAGE_MARK, Exchange
from iadgpt_jax.data.sources.tree import Tree, join
from iadgpt_jax.errors import InputError

FOLDERS = ("", "VisA")
DETECTION, REASONING = "test_data.json", "visa_dr.json"
QUESTION = "Are there any defects for the object in the image? Please reply with 'Yes' or 'No'."


def read(tree: Tree) -> Iterator[Entry]:
    """An entry for every item of both lists. Raises InputError where neither is there."""
    found = [join(folder, name) for name in (DETECTION, REASONING) for folder in FOLDERS]
    found = [path for path in found if tree.exists(path)]
    if not found:
        raise InputError(
            f"neither {DETECTION} nor {REASONING} in {tree.root}; name the folder that holds VisA/{REASONING}"
        )
    for path in found:
        items = read_json(tree, path)
        if not isinstance(items, list):
            if items is not None:
                tree.leave_out(path, "not a list of questions")
            continue
        for number, item in enumerate(items):
            entry, fault = _entry(tree, path, number, item)
            if entry is None:
                tree.leave_out(f"{path}[{number}]", fault)
            else:
                yield entry


def _entry(tree: Tree, path: str, number: int, item: Any) -> tuple[Entry | None, str]:
    """The entry of one item, or None and what is wrong with it."""
    if not isinstance(item, dict) or not isinstance(item.get("image"), str) or not item["image"]:
        return None, "names no image"
    named = item["image"]
    places = (named, join(path.rpartition("/")[0], named), named.removeprefix("VisA/"))
    image = next((place for place in places if tree.exists(place)), None)
    if image is None:
        return None, f"no such image: {named}"
    parts = named.removeprefix("VisA/").split("/")
    category = parts[0] if len(parts) > 1 else "images"
    anomaly = item.get("anomaly")
    defect = ("defect" if anomaly else None) if anomaly in (True, False) else ""  # 1 and 0 are those, too
    if path.endswith(DETECTION):
        if defect == "":
            return None, "anomaly says neither true nor false"
        exchanges: tuple[Exchange, ...] | str = (_asked(QUESTION, "Yes" if defect else "No", first=True),)
    else:
        exchanges = _reasoning(item)
    if isinstance(exchanges, str):
        return None, exchanges
    return Entry(f"{image}#{path.rpartition('/')[2]}-{number}", image, category, TEST, defect, exchanges=exchanges), ""


def _reasoning(item: dict[str, Any]) -> tuple[Exchange, ...] | str:
    questions, answers = item.get("questions"), item.get("answers")
    if not isinstance(questions, list) or not questions or not all(isinstance(q, str) and q for q in questions):
        return "no questions"
    if answers is None:
        answers = [""] * len(questions)
    if not isinstance(answers, list) or len(answers) != len(questions):
        return f"{len(questions)} questions and another number of answers"
    return tuple(_asked(q, str(a), first=not i) for i, (q, a) in enumerate(zip(questions, answers, strict=True)))


def _asked(question: str, answer: str, first: bool) -> Exchange:
    return Exchange(f"{IMAGE_MARK}\n{question}" if first else question, answer)
