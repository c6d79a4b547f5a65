"""Colours with names, so that what a caption says and what a picture shows cannot disagree."""

from __future__ import annotations

import numpy as np

Colour = tuple[float, float, float]

NAMED: dict[str, Colour] = {
    "red": (186, 44, 40),
    "orange": (226, 122, 40),
    "yellow": (232, 198, 66),
    "green": (58, 138, 76),
    "teal": (38, 138, 142),
    "blue": (44, 92, 172),
    "purple": (116, 72, 152),
    "pink": (222, 142, 164),
    "brown": (118, 78, 50),
    "beige": (214, 192, 156),
    "black": (42, 42, 46),
    "grey": (122, 124, 128),
    "white": (228, 228, 224),
    "silver": (176, 181, 188),
    "golden": (202, 166, 86),
    "copper": (190, 114, 78),
}
METALS = ("silver", "grey", "golden", "copper")
BRIGHT = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
PLAIN = ("white", "beige", "grey", "black", "brown")
ANY = BRIGHT + PLAIN


def draw(rng: np.random.Generator, names: tuple[str, ...], apart_from: Colour | None = None) -> tuple[str, Colour]:
    """A name and a shade of it; with `apart_from`, one that the eye tells from that colour."""
    order = rng.permutation(len(names))
    name = names[int(order[0])]
    if apart_from is not None:
        distance = [np.abs(np.subtract(NAMED[names[int(i)]], apart_from)).max() for i in order]
        far = [int(i) for i, d in zip(order, distance, strict=True) if d > 60]
        name = names[far[0]] if far else names[int(order[int(np.argmax(distance))])]
    shade = np.clip(np.array(NAMED[name]) * rng.uniform(0.88, 1.1) + rng.uniform(-8, 8, 3), 14, 242)
    return name, (float(shade[0]), float(shade[1]), float(shade[2]))


def luminance(colour: Colour) -> float:
    """Perceived brightness in [0, 1]."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255


def darker(colour: Colour, by: float) -> Colour:
    """The colour at a fraction `by` of its brightness (above 1: brighter)."""
    r, g, b = (min(250.0, c * by) for c in colour)
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """a · (1 − share) + b · share."""
    return tuple(x * (1 - share) + y * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]
