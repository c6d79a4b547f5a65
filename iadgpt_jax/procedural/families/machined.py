"""Turned, milled and stamped metal parts, and rubber rings: seen from above."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.procedural import palette, shapes
from iadgpt_jax.procedural.canvas import Finish, Layer
from iadgpt_jax.procedural.product import Product, counted

_METAL_WORDS = {"silver": "steel", "grey": "iron", "golden": "brass", "copper": "copper"}


def _metal(rng: np.random.Generator) -> tuple[str, palette.Colour, str]:
    name, colour = palette.draw(rng, palette.METALS)
    return name, colour, _METAL_WORDS[name]


def disc(rng: np.random.Generator) -> Product:
    """A flat disc with a step, and maybe a circle of small holes."""
    name, colour, metal = _metal(rng)
    r = rng.uniform(0.66, 0.84)
    turned = Finish("turned", bevel=0.3)
    layers = [Layer((shapes.ellipse((0, 0), r),), colour, turned)]
    step = r * rng.uniform(0.35, 0.75)
    tone = palette.darker(colour, rng.choice((0.75, 1.15)))
    layers.append(Layer((shapes.ellipse((0, 0), step),), tone, Finish("turned", bevel=0.35, shadow=0.3)))
    holes = int(rng.choice((0, 3, 4, 5, 6, 8)))
    for k, at in enumerate(shapes.around(holes, (r + step) / 2, rng.uniform(0, 6))):
        layers.append(Layer((shapes.ellipse(at, (r - step) * 0.3),), cut=True, part=k))
    detail = f"with {counted(holes, 'small hole')}" if holes else "with a raised step"
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A round disc {detail} in the picture center.",
        f"It is made of {metal} and turned from one solid piece.",
        f"{name} and turned",
    )


def ring(rng: np.random.Generator) -> Product:
    """A rubber or plastic sealing ring."""
    name, colour = palette.draw(rng, ("black", "red", "blue", "orange", "green", "brown", "white"))
    r = rng.uniform(0.6, 0.82)
    inner = r * rng.uniform(0.5, 0.72)
    mid = (r + inner) / 2
    layers = [
        Layer((shapes.ellipse((0, 0), r), shapes.ellipse((0, 0), inner)), colour, Finish(bevel=0.5, gloss=0.4)),
        Layer(
            (shapes.ellipse((0, 0), mid + 0.035), shapes.ellipse((0, 0), mid - 0.035)),
            palette.mix(colour, (255, 255, 255), 0.22),
            Finish(bevel=0.0, shadow=0),
        ),
    ]
    lugs = int(rng.choice((0, 0, 2, 3, 4)))
    for k, at in enumerate(shapes.around(lugs, r, rng.uniform(0, 6))):
        layers.append(Layer((shapes.ellipse(at, 0.1),), colour, Finish("round", bevel=0.2), part=k))
    detail = f"with {counted(lugs, 'round lug')}" if lugs else "with a wide opening"
    return Product(
        tuple(layers),
        colour,
        "plastic",
        f"A sealing ring {detail}.",
        "It is made of rubber, moulded in one piece.",
        f"{name} and soft",
    )


def nut(rng: np.random.Generator) -> Product:
    """A hexagonal or square nut with a threaded hole."""
    name, colour, metal = _metal(rng)
    corners = int(rng.choice((4, 6, 6, 8)))
    r, phase = rng.uniform(0.68, 0.85), rng.uniform(0, 1)
    bore = r * rng.uniform(0.36, 0.5)
    layers = [
        Layer((shapes.regular((0, 0), r, corners, phase),), colour, Finish(bevel=0.4)),
        Layer(
            (shapes.ellipse((0, 0), r * np.cos(np.pi / corners) * 0.98),),
            palette.darker(colour, 1.08),
            Finish("turned", shadow=0.1),
        ),
    ]
    if rng.random() < 0.4:
        layers.append(
            Layer((shapes.ellipse((0, 0), bore * 1.3),), palette.darker(colour, 0.8), Finish(bevel=-0.3, shadow=0))
        )
    for k in range(3):
        layers.append(
            Layer(
                (shapes.ellipse((0, 0), bore * (1.1 - 0.05 * k)),),
                palette.darker(colour, 0.45 + 0.3 * (k % 2)),
                Finish(bevel=0, shadow=0),
            )
        )
    layers.append(Layer((shapes.ellipse((0, 0), bore * 0.92),), cut=True))
    dots = int(rng.choice((0, 0, 1, 2, 3)))
    for k, at in enumerate(shapes.around(dots, (bore * 1.1 + r * 0.86) / 2, rng.uniform(0, 6))):
        tone = palette.darker(colour, 0.4)
        layers.append(Layer((shapes.ellipse(at, 0.055),), tone, Finish(bevel=-0.3, shadow=0), part=k))
    shape = {4: "square", 6: "hexagonal", 8: "octagonal"}[corners]
    marks = f" and {counted(dots, 'punched dot')}" if dots else ""
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A {shape} nut with a threaded hole{marks}.",
        f"It is made of {metal}, a single solid body.",
        f"{name} and shiny",
    )


def gear(rng: np.random.Generator) -> Product:
    """A spur gear with a bore and lightening holes or spokes."""
    plastic = rng.random() < 0.4
    name, colour, metal = _metal(rng)
    if plastic:
        name, colour = palette.draw(rng, palette.BRIGHT + ("white", "black", "beige"))
        metal = "plastic"
    teeth, tip = int(rng.integers(8, 25)), rng.uniform(0.74, 0.88)
    root = tip - rng.uniform(0.09, 0.16)
    outline = shapes.toothed(
        (0, 0), root, tip, teeth, rng.uniform(0.45, 0.62), rng.uniform(0.2, 0.8), rng.uniform(0, 1)
    )
    layers = [Layer((outline,), colour, Finish("flat" if plastic else "turned", bevel=0.4))]
    dish = root * rng.uniform(0.78, 0.9)
    layers.append(Layer((shapes.ellipse((0, 0), dish),), palette.darker(colour, 0.82), Finish(bevel=-0.35, shadow=0)))
    bore = rng.uniform(0.1, 0.18)
    layers.append(Layer((shapes.ellipse((0, 0), bore + 0.09),), colour, Finish("turned", bevel=0.4, shadow=0.3)))
    holes = int(rng.choice((0, 3, 4, 5, 6)))
    for k, at in enumerate(shapes.around(holes, (dish + bore + 0.09) / 2, rng.uniform(0, 6))):
        layers.append(Layer((shapes.ellipse(at, (dish - bore - 0.09) * 0.34),), cut=True, part=k))
    layers.append(Layer((shapes.ellipse((0, 0), bore),), cut=True))
    extra = f" and {counted(holes, 'round opening')}" if holes else ""
    return Product(
        tuple(layers),
        colour,
        "plastic" if plastic else "metal",
        f"A round gear with {counted(teeth, 'tooth')}, a center hole{extra}.",
        f"It is made of {metal}, one body with teeth.",
        f"{name} and {'matt' if plastic else 'turned'}",
    )


def washer(rng: np.random.Generator) -> Product:
    """A washer with slots or tabs."""
    name, colour, metal = _metal(rng)
    r = rng.uniform(0.64, 0.8)
    bore = r * rng.uniform(0.3, 0.55)
    layers = [Layer((shapes.ellipse((0, 0), r), shapes.ellipse((0, 0), bore)), colour, Finish("turned", bevel=0.3))]
    count, phase = int(rng.integers(2, 7)), rng.uniform(0, 6)
    tabs = rng.random() < 0.4
    for k, a in enumerate(phase + np.arange(count) * (2 * np.pi / count)):
        c, s = float(np.cos(a)), float(np.sin(a))
        if tabs:
            piece = shapes.box((c * (r + 0.03), s * (r + 0.03)), 0.2, 0.17, 0.03, float(a))
            layers.append(Layer((piece,), colour, Finish(bevel=0.3, shadow=0.2), part=k))
        else:
            low, high = bore + 0.3 * (r - bore), r - 0.22 * (r - bore)
            layers.append(Layer((shapes.rod((c * low, s * low), (c * high, s * high), 0.1),), cut=True, part=k))
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A flat washer with {counted(count, 'tab' if tabs else 'slot')} around a hole.",
        f"It is stamped from {metal} sheet.",
        f"{name} and smooth",
    )


def flange(rng: np.random.Generator) -> Product:
    """A plate with a central boss and bolts near its corners."""
    name, colour, metal = _metal(rng)
    painted = rng.random() < 0.4
    if painted:
        name, colour = palette.draw(rng, palette.BRIGHT + ("black", "white"))
    w, h, rounding = rng.uniform(1.3, 1.65), rng.uniform(1.0, 1.6), rng.uniform(0.08, 0.4)
    layers = [Layer((shapes.box((0, 0), w, h, rounding),), colour, Finish(bevel=0.4, grain=("brush", 0.04)))]
    bore = min(w, h) * rng.uniform(0.14, 0.22)
    layers.append(
        Layer((shapes.ellipse((0, 0), bore * 1.5),), palette.darker(colour, 1.1), Finish("turned", bevel=0.5))
    )
    layers.append(Layer((shapes.ellipse((0, 0), bore),), cut=True))
    x, y = w / 2 - 0.17, h / 2 - 0.17
    places = [(-x, -y), (x, -y), (x, y), (-x, y)]
    if rng.random() < 0.35:
        places += [(0, -y), (0, y)] if h > 1.25 else [(-x, 0), (x, 0)]
    bolts = rng.random() < 0.6
    _, bolt = palette.draw(rng, ("silver", "golden", "black", "grey"), colour)
    for k, at in enumerate(places):
        if bolts:
            layers.append(Layer((shapes.ellipse(at, 0.12),), bolt, Finish("turned", bevel=0.5), part=k))
            layers.append(
                Layer((shapes.regular(at, 0.06, 6),), palette.darker(bolt, 0.35), Finish(bevel=-0.2, shadow=0), part=k)
            )
        else:
            layers.append(Layer((shapes.ellipse(at, 0.09),), cut=True, part=k))
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A rectangular flange with a center hole and {counted(len(places), 'bolt' if bolts else 'small hole')}.",
        f"It is made of {'painted' if painted else 'brushed'} {metal}, a plate with a boss.",
        f"{name} and {'painted' if painted else 'brushed'}",
    )


def bearing(rng: np.random.Generator) -> Product:
    """A ball bearing: two races, a cage and balls."""
    name, colour, metal = _metal(rng)
    r = rng.uniform(0.7, 0.84)
    outer, inner, bore = r * 0.8, r * rng.uniform(0.5, 0.56), r * rng.uniform(0.3, 0.38)
    layers = [
        Layer((shapes.ellipse((0, 0), r),), colour, Finish("turned", bevel=0.4)),
        Layer((shapes.ellipse((0, 0), outer),), palette.darker(colour, 0.35), Finish(bevel=-0.4, shadow=0)),
    ]
    balls = int(rng.integers(6, 13))
    _, tone = palette.draw(rng, ("silver", "golden", "white", "copper", "black"), palette.darker(colour, 0.35))
    size = min((outer - inner) * 0.48, np.pi * (outer + inner) / 2 / balls * 0.85)
    for k, at in enumerate(shapes.around(balls, (outer + inner) / 2, rng.uniform(0, 6))):
        layers.append(Layer((shapes.ellipse(at, size, n=28),), tone, Finish("round", bevel=0.1, gloss=0.5), part=k))
    layers.append(Layer((shapes.ellipse((0, 0), inner),), colour, Finish("turned", bevel=0.45)))
    layers.append(Layer((shapes.ellipse((0, 0), bore),), cut=True))
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A ball bearing with {counted(balls, 'ball')} between two rings.",
        f"It is made of {metal} rings with loose balls.",
        f"{name} and polished",
    )


def screw(rng: np.random.Generator) -> Product:
    """A screw lying flat: head, shank with thread, tip."""
    name, colour = palette.draw(rng, palette.METALS + ("black",))
    head, shank, length = rng.uniform(0.42, 0.62), rng.uniform(0.2, 0.34), rng.uniform(1.35, 1.6)
    tilt = float(rng.choice((0, 0.5, -0.6, 1.57)))
    top = -length / 2
    neck = top + rng.uniform(0.18, 0.3)
    tip = rng.choice((0.02, 0.6)) * shank
    countersunk = rng.random() < 0.5
    crown = [(top, head * 0.96), (top + 0.03, head), (neck, shank if countersunk else head)]
    body = shapes.profile([(neck, shank), (length / 2 - 0.18, shank), (length / 2, tip)])
    tube = Finish("tube", axis=np.pi / 2, bevel=0.15, gloss=0.35)
    layers = [Layer((shapes.turn(body, 0),), colour, tube)]
    turns = int(rng.integers(6, 13))
    first = neck + rng.uniform(0.05, 0.4)
    for k, y in enumerate(np.linspace(first, length / 2 - 0.2, turns)):
        groove = shapes.rod((-shank * 1.02, float(y) + 0.03), (shank * 1.02, float(y) - 0.03), 0.034)
        layers.append(Layer((groove,), palette.darker(colour, 0.5), Finish("tube", np.pi / 2, 0.6, 0.1, 0.2), part=k))
    layers.append(Layer((shapes.profile(crown),), colour, Finish("tube", axis=np.pi / 2, bevel=0.35, gloss=0.4)))
    shape = "countersunk" if countersunk else "flat"
    return Product(
        tuple(layer.moved(0, 0, tilt, (0, 0)) for layer in layers),
        colour,
        "metal",
        f"A long screw with a {shape} head and {counted(turns, 'turn')} of thread.",
        f"It is made of {_METAL_WORDS.get(name, 'steel')}, a shank under a head.",
        f"{name} and shiny",
    )


FAMILIES = {
    "disc": disc,
    "ring": ring,
    "nut": nut,
    "gear": gear,
    "washer": washer,
    "flange": flange,
    "bearing": bearing,
    "screw": screw,
}
