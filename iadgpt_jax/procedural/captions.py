"""Three sentences about a design: its shape, its material and structure, its surface with its fixed marks."""

from __future__ import annotations

from iadgpt_jax.procedural.product import Product

# The picture's thirds in raster order, by the names that questions about a place use (data/place.py).
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
NOUNS = {
    "scratch": "line",
    "crack": "zigzag",
    "dent": "hollow",
    "hole": "spot",
    "stain": "patch",
    "foreign particle": "dot",
    "fibre": "curl",
    "broken edge": "notch",
    "misprint": "print",
    "smear": "streak",
    "bend": "bulge",
    "speckles": "cluster",
    "burn": "shade",
    "missing part": "gap",
    "moved part": "shift",
    "wrong colour": "tint",
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
        ground = product.surface.split(" and ")[0]  # leaves room within 16 words
        surface = f"It is {ground} with a {NOUNS[a]} at the {place(ax, ay)}, a {NOUNS[b]} at the {place(bx, by)}"
    elif marks:
        surface += " with marks at the " + ", ".join(place(x, y) for _, x, y in marks)
    return product.shape, product.structure, surface + "."
