"""`iadgpt VERB …`, or `python -m iadgpt_jax VERB …`: the door from the package to its commands.

The package knows none of them. It knows where they lie: in the clone, or in the folder that the wheel carries
(setup.py). What verbs there are says launch/verbs.py in that folder.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from iadgpt_jax.errors import InputError, clear_errors

CARRIED = "_commands"  # by the wheel; setup.py makes it


def commands_folder() -> Path:
    """The folder that holds launch/, configs/ and tools/. Raises InputError where the installation lacks it."""
    package = Path(__file__).resolve().parent
    for folder in (package / CARRIED, package.parent):
        if (folder / "launch" / "verbs.py").is_file():
            return folder
    raise InputError(f"{package} came without its commands; install it with pip install, or run it from a clone")


@clear_errors()
def main() -> int | None:
    """Run the command line; returns its exit status."""
    sys.path.insert(0, str(commands_folder()))
    return importlib.import_module("launch.verbs").main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
