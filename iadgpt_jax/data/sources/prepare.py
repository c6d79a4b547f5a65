"""A dataset in its published layout becomes a prepared one: plan, shards, index, report, picture sheet.

Everything is made in a folder beside the output, .<out>.unfinished, which is renamed when it is whole. A preparation
that was stopped, however, goes on with the shards that are missing when it is started again, and ends with the same
bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadgpt_jax.alone import alone_in
from iadgpt_jax.data.sources import plan as plans
from iadgpt_jax.data.sources.datasets import DATASETS, Dataset
from iadgpt_jax.data.sources.index import write_index
from iadgpt_jax.data.sources.plan import SPLITS, Plan, Shard
from iadgpt_jax.data.sources.prepared import described
from iadgpt_jax.data.sources.report import Report
from iadgpt_jax.data.sources.runners import write_locally, write_with_beam
from iadgpt_jax.data.sources.sample import Record
from iadgpt_jax.data.sources.shards import DATA, ROWS, Job, features, is_written, read_rows, remove_unfinished
from iadgpt_jax.data.sources.sheet import draw_sheet
from iadgpt_jax.data.sources.tree import Tree
from iadgpt_jax.data.sources.words import WORDS_FILE, Words
from iadgpt_jax.digests import write_digests
from iadgpt_jax.errors import InputError
from iadgpt_jax.room import room_for

SHEET_FILE = "sheet.jpg"
VERSION = 3  # of the bytes that a plan leads to; part of its digest


@dataclass(frozen=True)
class Request:
    """What to prepare. side: 0 keeps every image's size; words: a JSONL, or None for words.jsonl in the source."""

    dataset: str
    source: Path
    out: Path
    side: int = 0
    categories: tuple[str, ...] = ()
    words: Path | None = None

    @property
    def work(self) -> Path:
        return self.out.with_name(f".{self.out.name}.unfinished")


@dataclass(frozen=True)
class Runner:
    """Who writes the shards: `processes` of this machine, or Beam with its own options."""

    processes: int = 1
    beam: bool = False
    beam_options: tuple[str, ...] = ()


def prepare(
    request: Request,
    runner: Runner = Runner(),
    say: Callable[[str], None] = print,
    watch: Callable[[Iterator[str], int], Iterator[str]] = lambda done, total: done,
    dataset: Dataset | None = None,
) -> Report:
    """Prepare a dataset.

    Args:
      say: told what is going on, a line at a time.
      watch: hands on the shards as they are written, of so many, and shows progress.
      dataset: how to read it; None: as the table has it under the request's name.

    Returns the report, which is also in the dataset. Raises InputError where the output exists, cannot be written or is
    being written by another process, where its disk is full, and where the source is not what it should be.
    """
    with room_for(request.out, "choose another --out"):
        _refuse_existing(request, say)
        if is_finished(request):
            return Report.read(request.out)
    dataset = dataset or DATASETS[request.dataset]
    with _locked(request), room_for(request.out, "choose another --out"):
        plan = _plan(request, dataset, say)
        job = Job(request.dataset, str(request.source), str(request.work), request.side)
        _write_shards(job, plan, runner, say, watch)
        report = _finish(request, dataset, job, plan)
        (request.work / DATA).rename(request.out)
    shutil.rmtree(request.work, ignore_errors=True)
    return report


def is_finished(request: Request) -> bool:
    """Whether the output is there and whole; a folder without a report is none of ours."""
    return Report.is_there(request.out)


def _refuse_existing(request: Request, say: Callable[[str], None]) -> None:
    if not request.out.exists():
        return
    if (
        request.out.name and request.work.exists() and is_finished(request)
    ):  # stopped after the rename, before it had tidied up
        shutil.rmtree(request.work, ignore_errors=True)
        say(f"{request.out} was finished already")
        return
    raise InputError(f"{request.out} exists already; remove it or choose another --out")


@contextlib.contextmanager
def _locked(request: Request) -> Iterator[None]:
    """The work folder, for one process at a time."""
    with alone_in(request.work, f"preparing {request.out}", "choose another --out"):
        try:
            yield
        except InputError:
            if plans.remembered(request.work) is None:  # nothing worth going on with
                shutil.rmtree(request.work, ignore_errors=True)
            raise


def _plan(request: Request, dataset: Dataset, say: Callable[[str], None]) -> Plan:
    """Reads the source and writes the plan; what an earlier run left of another plan is removed."""
    before = plans.remembered(request.work)
    tree = Tree(request.source, without=(request.out, request.work))
    if not os.path.isdir(tree.root):  # unlike Path's, False for a name that is too long
        raise InputError(f"no such folder: {request.source}; name the one that {request.dataset} was unpacked to")
    words_file = request.words or request.source / WORDS_FILE
    options = {"version": VERSION, "dataset": request.dataset, "side": request.side}
    with contextlib.ExitStack() as stack:
        words = None
        if request.words or words_file.is_file():
            words = stack.enter_context(Words(words_file))
            tree.take(WORDS_FILE)
        entries = dataset.read(tree)
        plan = plans.make_plan(request.work, tree, entries, words, request.categories, options)
    for note in tree.notes:
        say(f"  {note}")
    say(f"found {plan.entries} images of {len(plan.categories)} categories in {request.source}")
    if before is not None and before != plan.digest:
        say("the source or the flags have changed since this was stopped: starting again")
    if before != plan.digest:
        for folder in (ROWS, DATA):
            shutil.rmtree(request.work / folder, ignore_errors=True)
        plans.remember(request.work, plan)  # after the old shards have gone: they are never taken for this plan's
    for folder in (ROWS, DATA):
        (request.work / folder).mkdir(exist_ok=True)
    return plan


def _write_shards(job: Job, plan: Plan, runner: Runner, say: Callable[[str], None], watch: Any) -> None:
    remove_unfinished(job)  # what was killed, or found the disk full, must not fill it again
    missing = [shard for shard in plan.shards if not is_written(job, shard)]
    if len(missing) < len(plan.shards):
        say(f"going on: {len(plan.shards) - len(missing)} of {len(plan.shards)} shards are there")
    if runner.beam and missing:
        write_with_beam(job, missing, runner.processes, runner.beam_options)
    else:
        for _ in watch(write_locally(job, missing, runner.processes), len(missing)):
            pass


def _finish(request: Request, dataset: Dataset, job: Job, plan: Plan) -> Report:
    """Everything that is made from all shards together: TFDS's description, index, report and sheet.

    The lists of rows are read twice, a shard at a time: a million rows never are in memory at once.
    """
    folder = request.work / DATA
    sizes: dict[Shard, tuple[int, int]] = {}
    records: Counter[Record] = Counter()
    left_out = list(plan.left_out)
    remarks: dict[str, tuple[int, str]] = {}
    for shard in plan.shards:
        listed = read_rows(job, shard)
        sizes[shard] = (len(listed.rows), listed.size)
        records.update(record for record, _, _ in listed.rows)
        left_out += listed.left_out
        for what, (count, first) in listed.remarks.items():
            before, first = remarks.get(what, (0, first))
            remarks[what] = before + count, first
    if not records:
        raise InputError(f"no image of {request.source} can be read; the first: {left_out[-1].why}")
    _write_tfds_info(folder, request.dataset, dataset, sizes)
    write_index(folder, (row for shard in plan.shards for row in read_rows(job, shard).rows))
    report = Report.make(request.dataset, dataset, records, left_out, not request.categories, remarks)
    (folder / SHEET_FILE).write_bytes(draw_sheet(folder))
    write_digests(folder, described(folder))
    report.write(folder)  # last: a folder with a report is a whole dataset
    return report


def _write_tfds_info(folder: Path, name: str, dataset: Dataset, sizes: dict[Shard, tuple[int, int]]) -> None:
    """dataset_info.json and what goes with it. sizes: examples and their bytes of every shard, in order."""
    import tensorflow_datasets as tfds

    identity = tfds.core.DatasetIdentity(
        name=name, version=tfds.core.Version("2.0.0"), data_dir=str(folder), module_name=__name__
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=features(),
        description="Photographs with defect masks and words (iadgpt_jax).",
        homepage=dataset.page or None,
        citation=dataset.citation or None,
        license=dataset.licence,
    )
    info.set_file_format("array_record")
    splits = []
    for split in SPLITS:
        of_split = [size for shard, size in sizes.items() if shard.split == split]
        if sum(examples for examples, _ in of_split):
            template = tfds.core.ShardedFileTemplate(
                dataset_name=name, data_dir=folder, split=split, filetype_suffix="array_record"
            )
            splits.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[examples for examples, _ in of_split],
                    num_bytes=sum(size for _, size in of_split),
                    filename_template=template,
                )
            )
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(folder)
