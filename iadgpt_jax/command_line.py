"""absl's flags with a configuration file among them; every mistake is one line.

A configuration is locked: a key that it does not have is an error. But what `config.sources` holds is named by whoever
starts a run, so `--config.sources.NAME.KEY=VALUE` makes the source NAME if there is none.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence

from absl import flags

from iadgpt_jax.errors import InputError, refuse_buckets

# What config.sources.NAME can say, and what holds where it does not (data/run_sources.py).
SOURCE = {"path": "", "weight": 1.0, "include": "", "exclude": ""}
_OF_SOURCE = re.compile(r"--?config\.sources\.([^.=]+)\.([^.=]+)=(.*)", re.DOTALL)


def parse(argv: list[str], config: flags.FlagHolder, usage: str, buckets: Collection[str] = ()) -> list[str]:
    """Parse argv into absl's flags; returns what is left over.

    `config` is the flag made by config_flags.DEFINE_config_file. If it is given, its configuration is read here, so
    that one that cannot be read is reported now and not at its first use. buckets: the flags whose path may be gs://.

    Raises:
      InputError: a mistake in the command line or in the configuration's name or keys; a bucket instead of a folder.
    """
    refuse_buckets(argv[1:], buckets)
    argv, of_sources = without_sources(argv)
    sys.argv[1:], _ = without_sources(sys.argv[1:])  # where the configuration's flag looks for what overrides it
    try:
        rest = flags.FLAGS(argv)
        if config.value is not None:
            config.value.stage  # noqa: B018
            for setting in of_sources:
                set_source(config.value, *setting)
        return rest
    except (AttributeError, KeyError) as error:
        # Of an unknown value; its argument is a KeyError that names the key and perhaps a similar one. A KeyError
        # itself is that of an unknown group of values.
        key = error.args[0].args[0] if error.args and isinstance(error.args[0], KeyError) else error.args[0]
        named = str(key).replace("\nDid you mean", "; did you mean")
        raise InputError(f"no such configuration key: {named} (configs/common.py has them all)") from error
    except OSError as error:
        raise InputError(f"no configuration to read: {_last(error)}; write --config=configs/stageN.py:SIZE") from error
    except flags.Error as error:
        if "whilst parsing config file" in str(error):
            told = f"no configuration to read: {_last(error)}; write --config=configs/stageN.py:SIZE"
            raise InputError(told) from error
        raise InputError(f"{' '.join(str(error).split())}; write {usage}") from error
    except (ValueError, TypeError, SyntaxError) as error:  # of keys that are no names, as row..maps
        raise InputError(f"{_last(error)}; write {usage}") from error


def _last(error: Exception) -> str:
    """The last line of a message, which names the reason where a traceback stands before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def without_sources(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
    """(the other words, (name, key, value) of each --config.sources.NAME.KEY=VALUE among them)."""
    matches = [_OF_SOURCE.fullmatch(word) for word in words]
    others = [word for word, match in zip(words, matches, strict=True) if match is None]
    return others, [match.groups() for match in matches if match]


def set_source(config, name: str, key: str, text: str) -> None:
    """config.sources.NAME.KEY = text, which makes the source where there is none. Raises InputError for a key that no
    source has, and for a weight that is not a number."""
    if key not in SOURCE:
        raise InputError(f"no such configuration key: sources.{name}.{key}; a source has {', '.join(SOURCE)}")
    try:
        value = type(SOURCE[key])(text)
    except ValueError as error:
        raise InputError(f"--config.sources.{name}.{key}={text} is not a number") from error
    with config.unlocked():
        if name not in config.sources:
            config.sources[name] = dict(SOURCE)
        config.sources[name][key] = value
