"""Libraries that only building a corpus needs, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from iadgpt_jax.errors import InputError


def optional(module: str, package: str) -> Any:
    """A module of an optional package. Raises InputError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{package} is not installed ({error}); install it: pip install 'iadgpt_jax[corpus]'"
        ) from error
