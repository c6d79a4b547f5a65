"""absl's flags with a configuration file among them; every mistake is one line.

A configuration is locked: a key that it does not have is an error. But what `config.sources` holds is named by whoever
starts a run, so `--config.sources.NAME.KEY=VALUE` makes the source NAME if there is none.

Commands that train import JAX, which takes seconds. `before_loading` does what needs none of it: help, and the flags
and keys that do not exist.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags

from iadgpt_jax.errors import InputError, clear_errors, did_you_mean, refuse_buckets

# What config.sources.NAME can say, and what holds where it does not (data/run_sources.py).
SOURCE = {"path": "", "weight": 1.0, "include": "", "exclude": ""}
EXAMPLE = "configs/stage3.py:tiny"  # whose keys --help lists where no other configuration is named
QUIET = flags.DEFINE_bool("quiet", False, "print results, warnings and errors alone")  # of every command
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
        raise InputError(f"no such configuration key: {named}; --help lists them all") from error
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


@clear_errors()
def before_loading(doc: str, own: Sequence[str], root: Path, required: Sequence[str] = ()) -> None:
    """Look at sys.argv as soon as the flags are defined, and before what takes seconds to import.

    --help prints `doc`, the flags `own` and the configuration's keys, and ends the process. The name of a configuration
    that lies below `root` (the folder of the commands) becomes its path, so that it is found from anywhere.

    Ends the process with one line for a flag, a configuration or a key that does not exist, and where one of the flags
    `required` is missing.
    """
    sys.argv[1:] = [_rooted(word, root) for word in sys.argv[1:]]
    words = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
    named = [re.match(r"--?([A-Za-z][\w.-]*)", word) for word in words]
    given = [match.group(1) for match in named if match]
    config = next((word.split("=", 1)[1] for word in words if re.match("--?config=", word)), "")
    if "help" in given or "-h" in words:
        print(help_text(doc, own, read_configuration(config or str(root / EXAMPLE), root), config or EXAMPLE))
        sys.exit(0)
    keys = [name.removeprefix("config.") for name in given if name.startswith("config.")]
    for name in given:
        known = list(flags.FLAGS)
        if not name.startswith("config.") and name not in known and name.removeprefix("no") not in known:
            raise InputError(
                f"no such flag: --{name}{did_you_mean('--' + name, ['--' + one for one in known])}; see --help"
            )
    for name in required:
        if name not in given and "flagfile" not in given:
            raise InputError(f"--{name} is missing: {flags.FLAGS[name].help}; see --help")
    if config:
        known = [key for key, _ in flat_items(read_configuration(config, root))]
        groups = {key.rpartition(".")[0] for key in known}
        for key in keys:
            if key not in known and key not in groups and not key.startswith("sources."):
                raise InputError(f"no such configuration key: {key!r}{did_you_mean(key, known)}; --help lists them all")


def _rooted(word: str, root: Path) -> str:
    flag, equals, name = word.partition("=")
    path = name.partition(":")[0]
    carried = flag in ("--config", "-config") and path and not Path(path).exists() and (root / path).is_file()
    return f"{flag}{equals}{root / name}" if carried else word


def load_file(path: str, usage: str, root: Path) -> ModuleType:
    """The Python file at a path, seen from here or from `root`. Raises InputError where there is none."""
    found = next((file for file in (Path(path), root / path) if file.is_file()), None)
    if found is None:
        raise InputError(f"no configuration {path}; write --config={usage}")
    spec = importlib.util.spec_from_file_location("configuration", found)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_configuration(name: str, root: Path):
    """The configuration of a name as configs/stageN.py:SIZE. Raises InputError where there is none."""
    path, _, size = name.partition(":")
    return load_file(path, "configs/stageN.py:SIZE", root).get_config(*([size] if size else []))


def flat_items(config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of everything in a configuration, keys as optimizer.rate."""
    for key in config:
        value = config.get(key)
        if hasattr(value, "items"):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def help_text(doc: str, own: Sequence[str], config, name: str) -> str:
    lines = [doc.strip(), "", "flags:"]
    for flag in ["config", *(one for one in own if one != "config")]:
        told = flags.FLAGS[flag]
        default = f" (default: {told.default})" if told.default not in (None, "", False) else ""
        lines.append(f"  --{flag}: {told.help}{default}")
    lines += ["", f"keys of {name} and their defaults (configs/common.py says what each means):"]
    unset = []
    for key, value in flat_items(config):
        if key.startswith("model.") and value is None:
            unset.append(key.removeprefix("model."))
        else:
            lines.append(f"  --config.{key}={value}")
    lines.append("  --config.sources.NAME.path, .weight, .include, .exclude: several sources, by names of your own")
    if unset:
        lines += ["  --config.model.KEY, where not set as the start or the size has it: " + ", ".join(unset)]
    return "\n".join(lines)


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
