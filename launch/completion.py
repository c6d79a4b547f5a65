"""Print a script that completes the verbs of iadgpt, their flags and the keys of configurations.

    iadgpt completion bash > ~/.local/share/bash-completion/completions/iadgpt
    iadgpt completion zsh > ~/.zfunc/_iadgpt

For zsh the folder must be in $fpath.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import shtab

from iadgpt_jax.command_line import EXAMPLE, flat_items, read_configuration
from iadgpt_jax.errors import Parser, clear_errors
from launch.verbs import ROOT, VERBS

KINDS = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}  # what stands for a value in --help


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    print(shtab.complete(tree(), parser().parse_args(arguments).shell))


def tree() -> Parser:
    """The whole command as one parser."""
    top = Parser(prog="iadgpt", description="Few-shot industrial anomaly detection")
    top.add_argument("--version", action="store_true", help="versions and devices")
    verbs = top.add_subparsers()
    for name, verb in VERBS.items():
        about = {"help": verb.does, "conflict_handler": "resolve", "add_help": False}
        if flags := list(absl_flags(ROOT / verb.file)):
            own = verbs.add_parser(name, **about)
            for flag, told in flags:
                own.add_argument(
                    f"--{flag}", help=told.replace("%", "%%"), metavar="DIR" if flag.endswith("dir") else None
                )
            for key, _ in flat_items(read_configuration(EXAMPLE, ROOT)):
                own.add_argument(f"--config.{key}", help=argparse.SUPPRESS if key.startswith("model.") else "")
        else:
            module = sys.modules[__name__] if name == "completion" else importlib.import_module(
                verb.file.removesuffix(".py").replace("/", ".")
            )  # fmt: skip
            own = verbs.add_parser(name, parents=[module.parser()], **about)
        complete_files(own)
    return top


def absl_flags(file: Path) -> Iterator[tuple[str, str]]:
    """(name, help) of the flags that a file defines with absl, read from its source: importing it takes seconds."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("DEFINE_"):
            name, _, told = (one.value for one in node.args[:3])
            yield name, told


def complete_files(own: argparse.ArgumentParser) -> None:
    for action in own._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                complete_files(one)
        if kind := KINDS.get(str(action.metavar)):
            action.complete = kind


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="whose completion to print")
    return made


if __name__ == "__main__":
    main()
