"""What a family makes: the layers of one product design and the words that describe it."""

from __future__ import annotations

from dataclasses import dataclass

from iadgpt_jax.procedural.canvas import Layer, Pattern
from iadgpt_jax.procedural.palette import Colour

_ONES = "zero one two three four five six seven eight nine ten eleven twelve".split() + (
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
)


def number(n: int) -> str:
    """The number in words, up to 29."""
    return _ONES[n] if n <= 20 else f"twenty {_ONES[n - 20]}"


# What descriptions count. A closed list, so that the vocabulary is known without drawing a design.
COUNTED = (
    "ball bar bolt chip component contact control dot figure hole lug opening pin plank rivet row screw seam slot "
    "strip stud tab tablet tile tooth turn wave wire"
).split()


def counted(n: int, noun: str) -> str:
    """ "three holes", "one hole". The noun's last word must be in COUNTED."""
    if noun.split(" ")[-1] not in COUNTED:
        raise KeyError(f"counted: {noun!r} is not in product.COUNTED; add its last word there")
    return f"{number(n)} {noun if n == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The noun in the plural."""
    return "teeth" if noun == "tooth" else noun + "s"


def article(word: str) -> str:
    """The word after "a" or "an"."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


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
