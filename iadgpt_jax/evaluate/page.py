"""What all HTML pages share: how templates are set, and how they show a number and a name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from iadgpt_jax.evaluate.table import mean_of


def environment() -> jinja2.Environment:
    """Templates of this folder; every text is escaped, a name that was not given is an error. Filters: `value`, three
    decimals or a dash, `spread`, " ± 0.004" or nothing, and `breakable`, a name that breaks after its underscores."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"value": value, "spread": spread, "breakable": breakable}
    return made


def breakable(name: str) -> Markup:
    """A name, escaped, that a narrow column may break after underscores rather than anywhere."""
    return Markup(escape(name).replace("_", "_" + Markup("<wbr>")))


def mean_or_nan(measured: Mapping[str, float] | float | None) -> float:
    """The number to show; not a number where there is none."""
    number = mean_of(measured)
    return math.nan if number is None else float(number)


def value(measured: Mapping[str, float] | float | None) -> str:
    """Three decimals; a dash for nothing."""
    mean = mean_or_nan(measured)
    return f"{mean:.3f}" if math.isfinite(mean) else "–"


def spread(measured: Mapping[str, float] | float | None) -> str:
    """ "± 0.004" where there is a standard deviation."""
    return f"± {measured['std']:.3f}" if isinstance(measured, Mapping) and "std" in measured else ""
