"""Families kept for evaluation: no training category is one of these."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.procedural import palette, patterns, shapes
from iadgpt_jax.procedural.canvas import Finish, Layer
from iadgpt_jax.procedural.product import Product, counted

_FLAT = Finish(bevel=0, shadow=0)


def _turned(layers: list[Layer], angle: float) -> tuple[Layer, ...]:
    """All layers rotated about the picture's centre."""
    return tuple(layer.moved(0, 0, angle, (0, 0)) for layer in layers)


def key(rng: np.random.Generator) -> Product:
    """A door key with a bow, a blade and cuts."""
    name, colour = palette.draw(rng, palette.METALS)
    bow, corners = rng.uniform(0.3, 0.4), int(rng.choice((5, 6, 8, 40)))
    at = (-0.5, 0.0)
    width = rng.uniform(0.2, 0.28)
    brushed = Finish(bevel=0.4, gloss=0.3, grain=("brush", 0.05))
    layers = [
        Layer((shapes.box((0.2, 0), 1.15, width, 0.03),), colour, brushed),
        Layer((shapes.regular(at, bow, corners),), colour, brushed),
    ]
    cuts = int(rng.integers(3, 7))
    for k, x in enumerate(np.linspace(0.0, 0.66, cuts)):
        depth = rng.uniform(0.06, 0.14)
        tooth = shapes.box((float(x), width / 2 + depth / 2 - 0.01), 0.66 / cuts * 0.62, depth + 0.02, 0.01)
        layers.append(Layer((tooth,), colour, Finish(bevel=0.3, shadow=0.2), part=k))
    layers.append(
        Layer(
            (shapes.box((0.25, -width * 0.12), 0.95, 0.04, 0.02),),
            palette.darker(colour, 0.55),
            Finish(bevel=-0.3, shadow=0),
        )
    )
    layers.append(Layer((shapes.ellipse((at[0] - 0.1, 0), bow * 0.35),), cut=True))
    return Product(
        _turned(layers, float(rng.choice((0, 0.5, -0.5, 1.57)))),
        colour,
        "metal",
        f"A flat key with {counted(cuts, 'tooth')} and a round hole.",
        "It is made of metal, a blade with a bow.",
        f"{name} and brushed",
    )


def connector(rng: np.random.Generator) -> Product:
    """A plug with rows of contacts and latches."""
    name, colour = palette.draw(rng, palette.BRIGHT + ("black", "white", "grey"))
    columns, rows = int(rng.integers(4, 9)), int(rng.integers(1, 4))
    w, h = rng.uniform(1.4, 1.75), 0.34 + 0.3 * rows
    layers = [Layer((shapes.box((0, 0), w, h, 0.08),), colour, Finish(bevel=0.45))]
    for side in (-1.0, 1.0):
        layers.append(
            Layer(
                (shapes.box((side * w * 0.3, side * h / 2), 0.3, 0.18, 0.04),),
                palette.darker(colour, 0.9),
                Finish(bevel=0.4),
            )
        )
    layers.append(
        Layer(
            (shapes.box((0, 0), w - 0.16, h - 0.14, 0.04),), palette.darker(colour, 0.4), Finish(bevel=-0.4, shadow=0)
        )
    )
    _, metal = palette.draw(rng, ("golden", "silver", "copper"))
    for j in range(rows):
        for i in range(columns):
            at = ((i + 0.5) / columns * (w - 0.26) - (w - 0.26) / 2, (j + 0.5) / rows * (h - 0.24) - (h - 0.24) / 2)
            pin = shapes.box(at, (w - 0.26) / columns * 0.5, (h - 0.24) / rows * 0.6, 0.02)
            layers.append(Layer((pin,), metal, Finish(bevel=0.5, gloss=0.3), part=j * columns + i))
    return Product(
        _turned(layers, float(rng.choice((0, 0, 1.57)))),
        colour,
        "electronics",
        f"A plug with {counted(rows, 'row')} of {counted(columns, 'contact')}.",
        "It is made of plastic around metal contacts.",
        f"{name} and smooth",
    )


def zipper(rng: np.random.Generator) -> Product:
    """A closed zipper: two tapes, interlocking teeth, a slider."""
    name, tape = palette.draw(rng, palette.ANY)
    _, metal = palette.draw(rng, ("golden", "silver", "black", "copper", "white"), tape)
    cloth = patterns.woven(tape, palette.darker(tape, 0.85), int(rng.integers(26, 40)), 1)
    layers = [Layer((shapes.box((0, 0), rng.uniform(1.1, 1.6), 2.6),), finish=Finish(bevel=0.2), pattern=cloth)]
    teeth = int(rng.integers(13, 21))
    for k in range(teeth):
        y = -1 + (k + 0.5) * 2 / teeth
        side = 0.045 if k % 2 else -0.045
        layers.append(
            Layer(
                (shapes.box((side, y), 0.26, 2 / teeth * 0.66, 0.03),), metal, Finish("tube", 0, 0.3, 0.3, 0.3), part=k
            )
        )
    y = rng.uniform(-0.5, 0.3)
    layers.append(Layer((shapes.box((0, y), 0.4, 0.36, 0.1),), palette.darker(metal, 0.9), Finish(bevel=0.5), part=50))
    layers.append(Layer((shapes.rod((0, y + 0.1), (0, y + 0.5), 0.16),), metal, Finish(bevel=0.5), part=51))
    return Product(
        _turned(layers, float(rng.choice((0, 1.57)))),
        tape,
        "fabric",
        f"A closed zipper with {counted(teeth, 'tooth')} and a slider.",
        "It is made of woven tape with metal teeth.",
        f"{name} and woven",
        without=("broken edge",),
    )


def leather(rng: np.random.Generator) -> Product:
    """Grained leather with seams and studs."""
    name, colour = palette.draw(rng, ("brown", "black", "red", "beige", "green", "blue", "orange"))
    layers = [
        Layer(
            (shapes.box((0, 0), 2.6, 2.6),),
            finish=Finish(bevel=0, shadow=0, gloss=0),
            pattern=patterns.hide(colour, rng.uniform(0.7, 1), rng.uniform(0.25, 0.5)),
        )
    ]
    _, thread = palette.draw(rng, ("white", "yellow", "black", "red", "beige"), colour)
    seams, angle, part = int(rng.integers(0, 3)), float(rng.choice((0, 1.57))), 0
    for k in range(seams):
        y = (-0.55, 0.5)[k]
        for x in np.arange(-0.9, 0.95, 0.2):
            layers.append(
                Layer(
                    (shapes.rod((float(x) - 0.05, y), (float(x) + 0.05, y), 0.05),),
                    thread,
                    Finish(bevel=0.4),
                    part=part,
                )
            )
            part += 1
    studs = int(rng.choice((0, 3, 4, 5)))
    _, metal = palette.draw(rng, ("golden", "silver", "copper"), colour)
    for at in shapes.around(studs, 0.3, rng.uniform(0, 6), (0, -0.02)):
        layers.append(Layer((shapes.ellipse(at, 0.1),), metal, Finish("round", gloss=0.5, bevel=0.4), part=part))
        part += 1
    parts = [counted(n, word) for n, word in ((seams, "seam"), (studs, "stud")) if n]
    detail = " with " + " and ".join(parts) if parts else ""
    return Product(
        _turned(layers, angle),
        colour,
        "leather",
        f"A piece of leather{detail}.",
        "It is made of tanned hide with a fine grain.",
        f"{name} and grained",
        without=("broken edge", "bend"),
    )


def spring(rng: np.random.Generator) -> Product:
    """A coil spring lying on its side."""
    name, colour = palette.draw(rng, palette.METALS + ("black", "red", "blue"))
    coils, width = int(rng.integers(6, 11)), rng.uniform(0.36, 0.52)
    pitch = 1.5 / coils
    wire = pitch * rng.uniform(0.36, 0.5)
    layers = []
    for k in range(coils + 1):
        x = -0.75 + k * pitch
        layers.append(
            Layer(
                (shapes.rod((x, width), (x - pitch / 2, -width), wire * 0.9),),
                palette.darker(colour, 0.5),
                Finish(bevel=0.2),
            )
        )
    for k in range(coils):
        x = -0.75 + k * pitch
        bar = shapes.rod((x, width), (x + pitch / 2, -width), wire)
        tilt = float(np.arctan2(-2 * width, pitch / 2))
        layers.append(Layer((bar,), colour, Finish("tube", tilt, 0.3, 0.4, 0.4), part=k))
    return Product(
        _turned(layers, float(rng.choice((0, 0.6, -0.6, 1.57)))),
        colour,
        "metal",
        f"A coil spring with {counted(coils, 'turn')}, lying.",
        "It is wound from one metal wire.",
        f"{name} and shiny",
    )


def cookie(rng: np.random.Generator) -> Product:
    """A cookie with chips or a sandwich biscuit with holes."""
    name, dough = palette.draw(rng, ("beige", "brown", "orange", "yellow"))
    dough = palette.mix(dough, (190, 135, 75), 0.4)
    crumb = patterns.speckled(dough, palette.darker(dough, 0.7), rng.uniform(0.2, 0.7))
    r = rng.uniform(0.68, 0.82)
    square = rng.random() < 0.35
    if square:
        outline = shapes.box((0, 0), r * 1.8, r * 1.5, 0.14)
    else:
        outline = shapes.toothed((0, 0), r * 0.95, r, int(rng.integers(12, 24)), 0.5, 0.7)
    layers = [Layer((outline,), finish=Finish("round", bevel=0.45, gloss=0), pattern=crumb)]
    count = int(rng.integers(4, 10))
    _, bit = palette.draw(rng, ("brown", "red", "white", "green", "black"), dough)
    chips = rng.random() < 0.6
    inner = shapes.around(count - count // 3, r * 0.55, rng.uniform(0, 6)) + shapes.around(
        count // 3, r * 0.2, rng.uniform(0, 6)
    )
    for k, at in enumerate(inner):
        if chips:
            layers.append(Layer((shapes.blob(rng, at, 0.1, 0.12),), bit, Finish("round", bevel=0.3, gloss=0.3), part=k))
        else:
            layers.append(
                Layer((shapes.ellipse(at, 0.055),), palette.darker(dough, 0.35), Finish(bevel=-0.4, shadow=0), part=k)
            )
    return Product(
        tuple(layers),
        dough,
        "food",
        f"A {'square' if square else 'round'} cookie with {counted(count, 'chip' if chips else 'small hole')}.",
        "It is made of baked dough.",
        f"{name} and rough",
        without=("dent", "bend"),
    )


def button(rng: np.random.Generator) -> Product:
    """A sewing button with a raised rim and holes."""
    name, colour = palette.draw(rng, palette.ANY)
    r, holes = rng.uniform(0.62, 0.8), int(rng.choice((2, 3, 4, 4)))
    layers = [
        Layer((shapes.ellipse((0, 0), r),), colour, Finish("round", bevel=0.45, gloss=0.35)),
        Layer((shapes.ellipse((0, 0), r * 0.76),), palette.darker(colour, 0.88), Finish(bevel=-0.45, shadow=0)),
    ]
    petals = int(rng.choice((0, 0, 8, 12)))
    _, ink = palette.draw(rng, palette.ANY, colour)
    for k, at in enumerate(shapes.around(petals, r * 0.6)):
        layers.append(Layer((shapes.ellipse(at, r * 0.07),), ink, Finish(bevel=0.2, shadow=0.1), part=10 + k))
    for k, at in enumerate(shapes.around(holes, r * rng.uniform(0.2, 0.27), rng.uniform(0, 6))):
        layers.append(Layer((shapes.ellipse(at, r * 0.1),), cut=True, part=k))
    detail = f" and {counted(petals, 'dot')}" if petals else ""
    return Product(
        tuple(layers),
        colour,
        "plastic",
        f"A round button with {counted(holes, 'hole')}{detail}.",
        "It is moulded from plastic with a raised rim.",
        f"{name} and glossy",
    )


def blade(rng: np.random.Generator) -> Product:
    """A circular saw blade with slots and a bore."""
    name, colour = palette.draw(rng, palette.METALS + ("red", "blue", "orange"))
    teeth, tip = int(rng.integers(14, 29)), rng.uniform(0.76, 0.88)
    t = np.arange(teeth) * (2 * np.pi / teeth)
    root = tip - rng.uniform(0.1, 0.15)
    points = []
    for a in t:
        for share, radius in ((0.0, root), (0.6, root + 0.02), (0.95, tip)):
            angle = a + share * 2 * np.pi / teeth
            points.append((radius * np.cos(angle), radius * np.sin(angle)))
    layers = [Layer((np.array(points),), colour, Finish("turned", bevel=0.35))]
    _, ink = palette.draw(rng, palette.BRIGHT + ("black", "white"), colour)
    band = rng.uniform(0.4, 0.5)
    layers.append(Layer((shapes.ellipse((0, 0), band), shapes.ellipse((0, 0), band - 0.06)), ink, _FLAT))
    slots = int(rng.choice((3, 4, 5, 6)))
    for k, a in enumerate(rng.uniform(0, 6) + np.arange(slots) * (2 * np.pi / slots)):
        c, s = float(np.cos(a)), float(np.sin(a))
        layers.append(Layer((shapes.rod((c * 0.54, s * 0.54), (c * 0.58, s * 0.58), 0.09),), cut=True, part=k))
    layers.append(Layer((shapes.ellipse((0, 0), 0.14),), cut=True))
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A saw blade with {counted(teeth, 'tooth')} and {counted(slots, 'opening')}.",
        "It is cut from steel sheet with a center hole.",
        f"{name} and sharp",
    )


FAMILIES = {
    "key": key,
    "connector": connector,
    "zipper": zipper,
    "leather": leather,
    "spring": spring,
    "cookie": cookie,
    "button": button,
    "blade": blade,
}
