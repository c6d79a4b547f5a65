"""VisA: images anywhere below the folder, listed in split_csv/1cls.csv (object,split,label,image,mask).

<category>/image_anno.csv (image,label,mask), where it is there, says in words what is wrong: "stuck together,small
cracks". Masks hold class numbers: whatever is not 0 is defective.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from iadgpt_jax.data.images import read_bytes
from iadgpt_jax.data.sources.entry import TEST, TRAIN, Entry
from iadgpt_jax.data.sources.tree import Tree, join
from iadgpt_jax.errors import InputError

INDEX = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
KINDS = "image_anno.csv"


def read(tree: Tree) -> Iterator[Entry]:
    """Every row of the index, in its order. Raises InputError where the index is missing or has other columns."""
    if not tree.exists(INDEX):
        raise InputError(f"no {INDEX} in {tree.root}; name the folder that VisA's archive was unpacked to")
    kinds: dict[str, dict[str, str]] = {}
    for number, row in enumerate(_rows(tree, INDEX, COLUMNS), 2):
        line = f"{INDEX}, line {number}"
        category, image = row["object"], row["image"]
        if row["split"] not in (TRAIN, TEST) or row["label"] not in ("normal", "anomaly") or not (category and image):
            tree.leave_out(line, "not a row of object, train or test, normal or anomaly, image, mask")
            continue
        if category not in kinds:
            kinds[category] = _kinds(tree, category)
        good = row["label"] == "normal"
        masks = () if good or not row["mask"] else (row["mask"],)
        yield Entry(image, image, category, row["split"], None if good else kinds[category].get(image, "defect"), masks)


def _kinds(tree: Tree, category: str) -> dict[str, str]:
    """Image to what is wrong with it, where the category says."""
    path = join(category, KINDS)
    if not tree.exists(path):
        return {}
    found = {}
    for row in _rows(tree, path, ("image", "label")):
        words = [word.strip() for word in row["label"].split(",") if word.strip()]
        if row["image"] and words and words != ["normal"]:
            found[row["image"]] = " and ".join(words)
    return found


def _rows(tree: Tree, path: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    tree.take(path)
    text = read_bytes(tree.path(path)).decode("utf-8-sig", errors="replace")
    rows = csv.DictReader(io.StringIO(text, newline=None))  # whatever ends its lines
    try:
        if missing := [column for column in columns if column not in (rows.fieldnames or ())]:
            raise InputError(
                f"{tree.path(path)} has no column {', '.join(missing)}; it should have {', '.join(columns)}"
            )
        for row in rows:
            yield {column: (row[column] or "").strip() for column in columns}
    except csv.Error as error:  # such as a quote without end
        raise InputError(f"cannot read {tree.path(path)}, line {rows.line_num}: {error}; download it again") from error
