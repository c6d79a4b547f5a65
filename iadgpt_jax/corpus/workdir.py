"""What lies in the work folder of a corpus, and which step writes it.

collected/<category>/NAME.jpg · sources.jsonl     collect: images, and where each came from
cleaned/images.jsonl · report.json                clean: the images to keep, and why the others are not
fingerprints.jsonl                                clean: hashes of every image it has looked at
described/captions.jsonl · report.json            describe: three captions an image, and which images have none
answers.jsonl                                     describe: every question asked, every answer paid for
dataset/                                          publish: what training reads
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from iadgpt_jax.alone import alone_in
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.errors import InputError
from iadgpt_jax.whole_file import write_whole

COLLECTED, CLEANED, DESCRIBED = "collected", "cleaned", "described"
SOURCES_FILE = "sources.jsonl"
IMAGES_FILE = f"{CLEANED}/images.jsonl"
CLEAN_REPORT = f"{CLEANED}/report.json"
FINGERPRINTS_FILE = "fingerprints.jsonl"
ANSWERS_FILE = "answers.jsonl"
CAPTIONS_FILE = f"{DESCRIBED}/captions.jsonl"
DESCRIBE_REPORT = f"{DESCRIBED}/report.json"


@contextlib.contextmanager
def opened(workdir: Path) -> Iterator[None]:
    """The work folder, made where there is none, for one process at a time; the lock goes with the process.

    Raises InputError where it cannot be written, or another process is at work in it.
    """
    with alone_in(workdir, f"at work in {workdir}", "name another --workdir"):
        yield


def write_lines(path: Path, items: Iterable[dict[str, Any]]) -> None:
    """Write JSON objects, one a line, whole or not at all."""
    write_whole(path, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))


def write_report(path: Path, values: dict[str, Any], left_out: Iterable[LeftOut]) -> None:
    """Write a step's report: its counts, and every file that it left out with the reason."""
    listed = [item.to_json() for item in left_out]
    write_whole(path, json.dumps(values | {"left_out": listed}, indent=1, ensure_ascii=False) + "\n")


def read_lines(path: Path, step: str) -> list[dict[str, Any]]:
    """The objects of a file that an earlier step wrote. Raises InputError where that step has not run."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except FileNotFoundError as error:
        raise InputError(f"no {path}; run tools/build_corpus.py {step} first") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run tools/build_corpus.py {step} again") from error


def read_left_out(path: Path, step: str) -> list[LeftOut]:
    """The files that an earlier step left out. Raises InputError where that step has not run."""
    try:
        return [LeftOut(**item) for item in json.loads(path.read_text(encoding="utf-8"))["left_out"]]
    except FileNotFoundError as error:
        raise InputError(f"no {path}; run tools/build_corpus.py {step} first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {path}: {error}; run tools/build_corpus.py {step} again") from error
