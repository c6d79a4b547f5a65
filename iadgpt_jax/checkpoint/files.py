"""The files by which a checkpoint is known, and finding the step that a path means.

    workdir/model.json            ModelConfig and how it was trained (what evaluation must repeat)
    workdir/tokenizer/            tokenizer.json, tokenizer_config.json, chat template
    workdir/checkpoints/<step>/   one whole step (workdir.py)

Importing this module loads neither JAX nor Orbax, so that a command can refuse a wrong path at once.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

from iadgpt_jax.bucket_files import clear, place
from iadgpt_jax.buckets import is_bucket, refusal
from iadgpt_jax.errors import InputError

MODEL_FILE, TOKENIZER, STEPS = "model.json", "tokenizer", "checkpoints"
HF_FILE = "config.json"
COMMITTED = "commit_success.txt"  # in a bucket: Orbax writes it into a step that is complete


def kind_of(checkpoint: str | Path) -> Literal["workdir", "hf"]:
    """What a path holds, by its files: a workdir (or one of its steps), or a Hugging Face directory.

    Raises:
      InputError: it is no checkpoint, or its bucket cannot be reached.
    """
    path = place(checkpoint)
    with clear(path) if is_bucket(path) else contextlib.nullcontext():
        return _kind_of(path)


def _kind_of(path: Any) -> Literal["workdir", "hf"]:
    if not path.exists():
        raise InputError(f"no checkpoint at {path}: the path does not exist")
    if not path.is_dir():
        raise InputError(f"{path} is a file; give the directory that holds the checkpoint")
    if ((path.parent.parent if _is_step(path) else path) / MODEL_FILE).is_file():
        return "workdir"
    if (path / HF_FILE).is_file():
        if is_bucket(path):
            raise InputError(f"{refusal(path)} (training workdirs alone are)")
        return "hf"
    raise InputError(
        f"{path} is no checkpoint: it holds neither {MODEL_FILE} nor {HF_FILE}; give a training workdir, a step in "
        f"its {STEPS} folder, or a Hugging Face directory"
    )


def finished_steps(workdir: str | Path) -> list[int]:
    """The steps a workdir holds whole checkpoints of, in order."""
    folder = place(workdir) / STEPS
    if not folder.is_dir():
        return []
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    if is_bucket(folder):  # where a folder cannot appear at once, an object is written into it at the end
        steps = [step for step in steps if (folder / str(step) / COMMITTED).exists()]
    return steps


def find_step(path: str | Path) -> tuple[Path, int]:
    """(workdir, step) of a workdir, whose newest step is meant, or of one of its steps.

    Raises:
      InputError: the workdir holds no step yet.
    """
    path = place(path)
    if _is_step(path):
        return path.parent.parent, int(path.name)
    steps = finished_steps(path)
    if not steps:
        raise InputError(f"{path} holds no finished checkpoint yet: let training reach its first one")
    return path, steps[-1]


def _is_step(path: Path) -> bool:
    return path.name.isdigit() and path.parent.name == STEPS
