"""Three sentences about a design: its shape, its material and structure, its surface with the marks that belong to it."""

from __future__ import annotations

from iadgpt_jax.data.place import PLACES
from iadgpt_jax.data.sources.procedural.product import Product

NOUNS = {
    "scratch": "line",
    "crack": "jagged line",
    "dent": "hollow",
    "hole": "round spot",
    "stain": "patch",
    "foreign particle": "dot",
    "fibre": "curved line",
    "broken edge": "notch",
    "misprint": "print",
    "smear": "streak",
    "bend": "curve",
    "speckles": "group of dots",
    "burn": "shaded area",
    "missing part": "gap",
    "moved part": "shifted piece",
    "wrong colour": "coloured piece",
}


def place(x: float, y: float) -> str:
    """The name of the picture's third × third where (x, y) in the unit frame lies."""
    column, row = (min(2, max(0, int((c + 1) * 1.5))) for c in (x, y))
    return PLACES[3 * row + column]


def captions(product: Product, marks: list[tuple[str, float, float]]) -> tuple[str, str, str]:
    """(shape, material and structure, surface). `marks` are (kind, x, y) in the unit frame."""
    surface = f"It is {product.surface}"
    if len(marks) == 1:
        kind, x, y = marks[0]
        surface += f" with a {NOUNS[kind]} at the {place(x, y)}"
    elif len(marks) == 2:
        (a, ax, ay), (b, bx, by) = marks
        surface = (
            f"It is {product.surface.split(' and ')[0]} with a {NOUNS[a]} {place(ax, ay)}, a {NOUNS[b]} {place(bx, by)}"
        )
    elif marks:
        surface += " with marks at the " + ", ".join(place(x, y) for _, x, y in marks)
    return product.shape, product.structure, surface + "."
