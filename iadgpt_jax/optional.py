"""Libraries that not every user needs, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from iadgpt_jax.errors import InputError


def optional(module: str, package: str, extra: str) -> Any:
    """A module of a package that an extra of pyproject.toml brings. Raises InputError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{package} is not installed ({error}); install it: pip install 'iadgpt_jax[{extra}]'"
        ) from error
