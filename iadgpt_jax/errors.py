"""How commands report faulty input: one line that says what is wrong, where, and what to do.

Only `InputError` is reported that way. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Collection, Iterator, Sequence

from iadgpt_jax.buckets import bucket_in, is_bucket, refusal

INPUT_FAULT = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports


class InputError(Exception):
    """A path, a file, a flag or a configuration value is wrong. The message is one line: what is wrong, where, and what
    to do about it. Line breaks in what it quotes become blanks."""

    def __init__(self, message: str):
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises InputError, so that a mistyped flag is one line too, and for buckets given where
    only folders are read and written. buckets: the flags whose path may be gs://."""

    def __init__(self, *args, buckets: Collection[str] = (), **more):
        super().__init__(*args, **more)
        self.buckets = buckets

    def parse_args(self, args=None, namespace=None):
        refuse_buckets(sys.argv[1:] if args is None else args, self.buckets)
        return super().parse_args(args, namespace)

    def error(self, message: str):
        raise InputError(f"{message}; see --help")

    def given(self, arguments: Sequence[str] | None = None) -> set[str]:
        """The names of the flags that these arguments (the command line's) set, whatever their defaults are."""
        names = vars(self.parse_args(arguments))
        found = self.parse_args(arguments, argparse.Namespace(**dict.fromkeys(names)))  # what is there stays: None
        return {name for name, value in vars(found).items() if value is not None}


def refuse_buckets(words: Sequence[str], allowed: Collection[str] = ()) -> None:
    """Raise InputError where a word of a command line names a bucket and its flag is not one of `allowed`."""
    if found := bucket_in(words, allowed):
        flag, path = found
        raise InputError((f"--{flag}: " if flag else "") + refusal(path))


def refuse_bucket(path: str | os.PathLike) -> None:
    """Raise InputError where a path names a bucket: for what opens paths."""
    if is_bucket(path):
        raise InputError(refusal(path))


def printable(text: str) -> str:
    """Text of foreign origin, as a file's name, with control characters written as \\xNN: printed raw, a name could
    move a terminal's cursor, colour it or rename its window. Line breaks and tabs stay."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in text
    )


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """For the mains of launch/ and tools/, as `@clear_errors()` or `with clear_errors():`.

    An `InputError` ends the process with one line `error: …` on standard error and exit status 2, an interrupt (Ctrl-C)
    with status 130. What the terminal's encoding lacks is printed as an escape: after hours of work a file's name must
    not end it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except InputError as error:
        print("error: " + " ".join(printable(str(error)).split()), file=sys.stderr)
        sys.exit(INPUT_FAULT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
