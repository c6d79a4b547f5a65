"""The verbs of `iadgpt`: which file each one runs, and what it does.

    iadgpt VERB [FLAGS]      the same as running its file: iadgpt train … is python launch/train.py …
    iadgpt VERB --help       what a verb does, and its flags
    iadgpt completion bash   a script that completes verbs and flags (bash, zsh, tcsh)
    iadgpt --version         versions, and the devices that JAX finds

Nothing here imports JAX: the list of verbs is there at once. What is compiled for a verb is kept for the next start, in
a folder of the user's own and within MOST_KEPT, unless JAX's own variables say otherwise.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from iadgpt_jax import __version__
from iadgpt_jax.errors import InputError, clear_errors, did_you_mean

ROOT = Path(__file__).resolve().parents[1]
MOST_KEPT = 2 * 2**30  # bytes of compiled programs; what was not used for longest goes first


class Verb(NamedTuple):
    """file: what it runs, seen from the folder of the commands. does: in a few words."""

    file: str
    does: str


VERBS = {
    "quickstart": Verb("launch/quickstart.py", "train, evaluate and export a tiny model, without data or weights"),
    "predict": Verb("launch/predict.py", "inspect photographs of parts against good examples"),
    "app": Verb("launch/app.py", "a page in the browser: inspect parts, ask about them, keep products"),
    "serve": Verb("launch/serve.py", "answer over HTTP: products, inspections in batches, chats"),
    "evaluate": Verb("launch/evaluate.py", "measure few-shot detection on a dataset"),
    "prepare": Verb("tools/prepare_data.py", "turn a dataset or a folder of photographs into what training reads"),
    "compose": Verb("launch/compose.py", "show what a stage of training is made of"),
    "train": Verb("launch/train.py", "train a stage, or go on with it"),
    "sweep": Verb("launch/sweep.py", "train and evaluate settings beside each other, for a table"),
    "convert": Verb("tools/convert_hf.py", "import and export Hugging Face weights, and compare them"),
    "compile": Verb("launch/compile.py", "say what a training step costs on a TPU slice"),
    "doctor": Verb("launch/doctor.py", "say what this machine can do, and what is missing"),
    "completion": Verb("launch/completion.py", "print a script that completes verbs and flags in a shell"),
}


@clear_errors()
def main(arguments: Sequence[str]) -> int | None:
    """Run what the words after `iadgpt` ask for; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("\n".join(help_lines()))
        return 0
    name, *rest = arguments
    if name == "--version":
        name, rest = "doctor", ["--versions", *rest]
    if name not in VERBS:
        kind = "flag" if name.startswith("-") else "verb"
        known = ["--version", "--help"] if kind == "flag" else VERBS
        raise InputError(f"no such {kind}: {name}{did_you_mean(name, known)}; iadgpt --help lists them all")
    return run(name, rest)


def run(name: str, arguments: Sequence[str]) -> None:
    """Run a verb's file as Python runs a script, under the name that it was called by."""
    keep_compiled()
    path = ROOT / VERBS[name].file
    sys.argv = [f"iadgpt {name}", *arguments]
    spec = importlib.util.spec_from_file_location("__main__", path)
    module = importlib.util.module_from_spec(spec)
    module.__spec__ = None  # as of a script: processes that it starts run it again by its path
    sys.modules["__main__"] = module
    spec.loader.exec_module(module)


def keep_compiled() -> None:
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(home, "iadgpt", "compiled")
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(MOST_KEPT))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def help_lines() -> list[str]:
    wide = max(map(len, VERBS))
    return [
        f"iadgpt {__version__}: few-shot industrial anomaly detection, localization and reasoning",
        "",
        "usage: iadgpt VERB [FLAGS]",
        "",
        *(f"  {name:<{wide}}  {verb.does}" for name, verb in VERBS.items()),
        "",
        "iadgpt VERB --help says more of a verb; iadgpt --version what is installed. From photographs to a verdict:",
        "",
        "  iadgpt predict --checkpoint=DIR --reference=GOOD_FOLDER --query=PARTS_FOLDER",
    ]
