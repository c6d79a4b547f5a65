"""What a family makes: the layers of one product design and the words that describe it."""

from __future__ import annotations

from dataclasses import dataclass

from iadgpt_jax.data.sources.procedural.canvas import Layer, Pattern
from iadgpt_jax.data.sources.procedural.palette import Colour

_ONES = "zero one two three four five six seven eight nine ten eleven twelve".split() + (
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
)


def number(n: int) -> str:
    """The number in words, up to 29."""
    return _ONES[n] if n <= 20 else f"twenty {_ONES[n - 20]}"


@dataclass(frozen=True)
class Product:
    """One design of a family, upright, without its fixed marks.

    `shape` and `structure` are whole sentences, `surface` two adjectives joined by "and"; `material` is the class in
    facts.MATERIALS; `colour` is the main one, for choosing a background that shows it.
    """

    layers: tuple[Layer, ...]
    colour: Colour
    material: str
    shape: str
    structure: str
    surface: str
    background: Pattern | None = None
    without: tuple[str, ...] = ()  # defect kinds that make no sense here
