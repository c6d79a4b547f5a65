"""absl's flags with a configuration file among them, their faults told in one line each."""

from __future__ import annotations

from absl import flags

from iadgpt_jax.errors import InputError


def parse(argv: list[str], config: flags.FlagHolder, usage: str) -> list[str]:
    """What is left of argv. `config` is the flag made by config_flags.DEFINE_config_file; where it is given, the
    configuration is read here, for one that cannot be read says so at its first use.

    Raises:
      InputError: a fault of the command line or of the configuration's name; it ends with `usage`.
    """
    try:
        rest = flags.FLAGS(argv)
        if config.value is not None:
            config.value.stage  # noqa: B018
        return rest
    except AttributeError as error:  # holds the KeyError whose message names the key, perhaps with a like one
        key = error.args[0].args[0] if error.args and isinstance(error.args[0], KeyError) else error
        raise InputError(f"no such configuration key: {key} (configs/common.py has them all)") from error
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"no configuration to read: {reason}; write --config=configs/stageN.py:SIZE") from error
    except flags.Error as error:
        raise InputError(f"{error}; write {usage}") from error
