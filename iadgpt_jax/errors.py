"""How commands report faulty input: one line that says what is wrong, where, and what to do.

Only `InputError` is reported that way. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import re
import select
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

from iadgpt_jax import voice
from iadgpt_jax.buckets import bucket_in, is_bucket, refusal

INPUT_FAULT = 2
TRY_AGAIN = 75  # sysexits.h: a temporary failure; the same command goes on
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports
PIPE_CLOSED = 141  # 128 + SIGPIPE: `iadgpt doctor | head -1`


class InputError(Exception):
    """A path, a file, a flag or a configuration value is wrong. The message is one line: what is wrong, where, and what
    to do about it. Line breaks in what it quotes become blanks."""

    def __init__(self, message: str):
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises InputError, so that a mistyped flag is one line too, and for buckets given where
    only folders are read and written. buckets: the flags whose path may be gs://. Every one knows --quiet."""

    def __init__(self, *args, buckets: Collection[str] = (), **more):
        super().__init__(*args, **more)
        self.buckets = buckets
        self.add_argument("--quiet", action=_Quiet, nargs=0, help="print results, warnings and errors alone")

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

    def parse_known_args(self, args=None, namespace=None):
        words = list(sys.argv[1:] if args is None else args)
        if not self._subparsers:  # their flags are theirs
            known = [option for option in self._option_string_actions if option.startswith("--")]
            for word in words[: words.index("--")] if "--" in words else words:
                name = word.partition("=")[0]
                if name.startswith("--") and " " not in name and not any(one.startswith(name) for one in known):
                    raise InputError(f"no such flag: {name}{did_you_mean(name, known)}; see --help")
        return super().parse_known_args(words, namespace)


class _Quiet(argparse.Action):
    def __init__(self, **settings):
        super().__init__(**(settings | {"dest": argparse.SUPPRESS, "default": argparse.SUPPRESS}))

    def __call__(self, *_: object) -> None:
        voice.set_quiet(True)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean NAME?" where something known is like it or ends the same, else ""."""
    known = list(known)
    likely = difflib.get_close_matches(name, known, 1, 0.7)
    likely = likely or sorted(
        (one for one in known if re.split("[.-]", one)[-1] == re.split("[.-]", name)[-1]), key=len
    )
    return f"; did you mean {likely[0]}?" if likely else ""


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
    not end it. --quiet holds as long.
    """
    quiet = voice.is_quiet()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except InputError as error:
        print(voice.coloured("error:", voice.RED), " ".join(printable(str(error)).split()), file=sys.stderr)
        sys.exit(INPUT_FAULT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        sys.exit(PIPE_CLOSED)
    finally:
        voice.set_quiet(quiet)


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose reader has gone; what is still to be written there is then dropped."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is no file, in tests
        pipe, asked = sys.stdout.fileno(), select.poll()
        asked.register(pipe, select.POLLERR)
        if any(event & select.POLLERR for _, event in asked.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), pipe)
            return True
    return False
