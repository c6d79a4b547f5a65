"""absl's flags with a configuration file among them; every mistake is one line."""

from __future__ import annotations

from absl import flags

from iadgpt_jax.errors import InputError


def parse(argv: list[str], config: flags.FlagHolder, usage: str) -> list[str]:
    """Parse argv into absl's flags; returns what is left over.

    `config` is the flag made by config_flags.DEFINE_config_file. If it is given, its configuration is read here, so
    that one that cannot be read is reported now and not at its first use.

    Raises:
      InputError: a mistake in the command line or in the configuration's name or keys.
    """
    try:
        rest = flags.FLAGS(argv)
        if config.value is not None:
            config.value.stage  # noqa: B018
        return rest
    except (AttributeError, KeyError) as error:
        # Of an unknown value; its argument is a KeyError that names the key and perhaps a similar one. A KeyError
        # itself is that of an unknown group of values.
        key = error.args[0].args[0] if error.args and isinstance(error.args[0], KeyError) else error.args[0]
        raise InputError(f"no such configuration key: {key} (configs/common.py has them all)") from error
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"no configuration to read: {reason}; write --config=configs/stageN.py:SIZE") from error
    except flags.Error as error:
        raise InputError(f"{error}; write {usage}") from error
