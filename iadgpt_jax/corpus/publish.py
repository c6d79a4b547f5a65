"""Publish: the described images as a prepared dataset, by the same writer as every other one (data/sources/prepare.py).

Its report.json lists what cleaning and describing left out, with the reasons, beside what the writer left out itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from iadgpt_jax.alone import FILE as LOCK_FILE
from iadgpt_jax.corpus import workdir as files
from iadgpt_jax.data.sources.datasets import Dataset
from iadgpt_jax.data.sources.entry import TRAIN, Entry
from iadgpt_jax.data.sources.prepare import Request, Runner, prepare
from iadgpt_jax.data.sources.report import Report
from iadgpt_jax.data.sources.tree import Tree
from iadgpt_jax.errors import InputError

NAME = "corpus"
LICENCE = "that of each image; sources.jsonl beside the collected images says where it came from"
CITATION = "collected by tools/build_corpus.py"


def publish(
    workdir: Path, out: Path, runner: Runner, say: Callable[[str], None] = print,
    watch: Callable[[Iterator[str], int], Iterator[str]] = lambda done, total: done,
) -> Report:  # fmt: skip
    """Write the dataset; returns its report. Raises InputError where describing has not run, and what `prepare`
    raises."""
    if not files.read_lines(workdir / files.CAPTIONS_FILE, "describe"):
        raise InputError(f"no image of {workdir} is described; run tools/build_corpus.py describe again")
    return prepare(Request(NAME, workdir, out), runner, say, watch, Dataset(read, LICENCE, CITATION))


def read(tree: Tree) -> Iterator[Entry]:
    """The described images of a work folder; all are good ones, to train on."""
    category_of = {line["image"]: line["category"] for line in files.read_lines(tree.path(files.IMAGES_FILE), "clean")}
    for report, step in ((files.CLEAN_REPORT, "clean"), (files.DESCRIBE_REPORT, "describe")):
        for item in files.read_left_out(tree.path(report), step):
            tree.leave_out(item.path, item.why)
    tree.take(files.IMAGES_FILE, files.CAPTIONS_FILE, files.CLEAN_REPORT, files.DESCRIBE_REPORT)
    tree.take(files.FINGERPRINTS_FILE, files.ANSWERS_FILE, LOCK_FILE)
    tree.take(*(f"{files.COLLECTED}/{name}/{files.SOURCES_FILE}" for name in tree.folders(files.COLLECTED)))
    described = files.read_lines(tree.path(files.CAPTIONS_FILE), "describe")
    told_of = {line["image"] for line in described} | {item.path for item in tree.left_out}
    for image in category_of:
        if image not in told_of:  # it was collected and cleaned since
            tree.leave_out(image, "not described yet: not asked")
    for line in described:
        image = line["image"]
        if image not in category_of:
            raise InputError(f"{image} is described and not among the cleaned images; run describe after clean again")
        key = image.removeprefix(f"{files.COLLECTED}/")
        yield Entry(key, image, category_of[image], TRAIN, None, captions=tuple(line["captions"]))
