"""How commands report faulty input: one line that says what is wrong, where, and what to do.

Only `InputError` is reported that way. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

INPUT_FAULT = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports


class InputError(Exception):
    """A path, a file, a flag or a configuration value is wrong. The message is one line: what is wrong, where, and what
    to do about it."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises InputError, so that a mistyped flag is one line too."""

    def error(self, message: str):
        raise InputError(f"{message}; see --help")


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """For the mains of launch/ and tools/, as `@clear_errors()` or `with clear_errors():`.

    An `InputError` ends the process with one line `error: …` on standard error and exit status 2, an interrupt (Ctrl-C)
    with status 130.
    """
    try:
        yield
    except InputError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(INPUT_FAULT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
