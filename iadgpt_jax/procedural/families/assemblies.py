"""Things put together from parts: circuit boards, chips, cables cut across, switch panels."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.procedural import palette, shapes
from iadgpt_jax.procedural.canvas import Finish, Layer
from iadgpt_jax.procedural.product import Product, counted

_FLAT = Finish(bevel=0, shadow=0)


def _component(rng: np.random.Generator, at: shapes.Point, cell: float, part: int) -> list[Layer]:
    """A chip, resistor, capacitor, diode or connector within a cell."""
    kind = int(rng.integers(5))
    upright = rng.random() < 0.5
    lead = palette.NAMED["silver"]

    def moved(*outlines: shapes.Outline) -> tuple[shapes.Outline, ...]:
        return tuple(shapes.turn(o, np.pi / 2 if upright else 0) + at for o in outlines)

    layers: list[Layer] = []
    w = cell * rng.uniform(0.7, 0.84)
    if kind == 0:  # chip with pins
        h = w * rng.uniform(0.55, 0.9)
        pins = int(rng.integers(3, 6))
        rows = [shapes.box(((k + 0.5) / pins * w - w / 2, 0), w / pins * 0.45, h * 1.22) for k in range(pins)]
        layers.append(Layer(moved(*rows), lead, _FLAT, part))
        layers.append(Layer(moved(shapes.box((0, 0), w, h * 0.94, 0.02)), (44, 44, 50), Finish(bevel=0.35), part))
        layers.append(Layer(moved(shapes.ellipse((-w * 0.34, h * 0.24), w * 0.07)), (150, 150, 150), _FLAT, part))
    elif kind == 1:  # resistor
        h = w * 0.4
        layers.append(Layer(moved(shapes.box((0, 0), w * 1.1, h * 0.2)), lead, _FLAT, part))
        _, body = palette.draw(rng, ("beige", "blue", "brown", "teal"))
        layers.append(
            Layer(
                moved(shapes.box((0, 0), w * 0.72, h, h * 0.4)),
                body,
                Finish("tube", _axis(upright), 0.2, 0.3, 0.3),
                part,
            )
        )
        for k in range(3):
            _, band = palette.draw(rng, ("red", "black", "yellow", "green", "white"), body)
            layers.append(Layer(moved(shapes.box(((k - 1) * w * 0.17, 0), w * 0.08, h)), band, _FLAT, part))
    elif kind == 2:  # electrolytic capacitor
        _, body = palette.draw(rng, ("black", "blue", "silver", "purple", "golden"))
        layers.append(Layer(moved(shapes.ellipse((0, 0), w * 0.42)), body, Finish("round", bevel=0.5, gloss=0.4), part))
        layers.append(
            Layer(
                moved(shapes.ellipse((0, 0), w * 0.28)),
                palette.mix(body, (235, 235, 235), 0.6),
                Finish("turned", 0, 0.2, 0),
                part,
            )
        )
    elif kind == 3:  # surface-mounted part
        h = w * 0.5
        layers.append(Layer(moved(shapes.box((0, 0), w * 0.9, h)), palette.NAMED["silver"], Finish(bevel=0.3), part))
        _, body = palette.draw(rng, ("brown", "black", "beige", "orange", "red"))
        layers.append(Layer(moved(shapes.box((0, 0), w * 0.56, h)), body, Finish(bevel=0.2, shadow=0), part))
    else:  # connector with contacts
        h, pins = w * 0.55, int(rng.integers(2, 5))
        _, body = palette.draw(rng, ("white", "black", "yellow", "red", "blue"))
        layers.append(Layer(moved(shapes.box((0, 0), w, h, 0.02)), body, Finish(bevel=0.4), part))
        dots = [shapes.ellipse(((k + 0.5) / pins * w - w / 2, 0), w / pins * 0.22, n=16) for k in range(pins)]
        layers.append(Layer(moved(*dots), palette.NAMED["golden"], Finish(bevel=0.2, shadow=0.2), part))
    return layers


def _axis(upright: bool) -> float:
    return np.pi / 2 if upright else 0.0


def board(rng: np.random.Generator) -> Product:
    """A circuit board with traces and components on a loose grid."""
    name, colour = palette.draw(rng, ("green", "green", "blue", "red", "black", "teal", "purple"))
    w, h = rng.uniform(1.5, 1.78), rng.uniform(1.3, 1.78)
    layers = [Layer((shapes.box((0, 0), w, h, 0.06),), colour, Finish(bevel=0.25, grain=("fine", 0.02)))]
    trace = palette.mix(colour, (230, 220, 120), 0.28)
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    cw, ch = (w - 0.16) / columns, (h - 0.16) / rows
    centres = [
        (-w / 2 + 0.08 + (i + 0.5) * cw, -h / 2 + 0.08 + (j + 0.5) * ch) for j in range(rows) for i in range(columns)
    ]
    lines = []
    for _ in range(int(rng.integers(5, 10))):
        (ax, ay), (bx, by) = (centres[int(k)] for k in rng.integers(0, len(centres), 2))
        shift = rng.uniform(-0.12, 0.12)
        lines += [shapes.rod((ax + shift, ay), (ax + shift, by), 0.028), shapes.rod((ax + shift, by), (bx, by), 0.028)]
    for line in lines:
        layers.append(Layer((line,), trace, _FLAT))
    for at in [
        (-w / 2 + 0.07, -h / 2 + 0.07),
        (w / 2 - 0.07, h / 2 - 0.07),
        (w / 2 - 0.07, -h / 2 + 0.07),
        (-w / 2 + 0.07, h / 2 - 0.07),
    ]:
        layers.append(Layer((shapes.ellipse(at, 0.05, n=20),), palette.NAMED["golden"], _FLAT))
    count = 0
    for at in centres:
        if rng.random() < 0.9 or count < 2:
            jitter = rng.uniform(-0.04, 0.04, 2)
            layers += _component(rng, (at[0] + jitter[0], at[1] + jitter[1]), min(cw, ch), count)
            count += 1
    return Product(
        tuple(layers),
        colour,
        "electronics",
        f"A rectangular circuit board with {counted(count, 'component')}.",
        "It is made of resin with soldered electronic parts.",
        f"{name} and printed",
        without=("bend", "dent"),
    )


def chip(rng: np.random.Generator) -> Product:
    """One large integrated circuit with pins on two or four sides."""
    name, colour = palette.draw(rng, ("black", "grey", "brown", "beige", "white"))
    w, h = rng.uniform(0.9, 1.2), rng.uniform(0.9, 1.2)
    pins, four = int(rng.integers(4, 10)), rng.random() < 0.55
    _, lead = palette.draw(rng, ("silver", "golden"), None)
    layers, part = [], 0
    reach = rng.uniform(0.16, 0.26)
    for k in range(pins):
        x, y = (k + 0.5) / pins * w - w / 2, (k + 0.5) / pins * h - h / 2
        sides = [((-w / 2, y), reach * 2, h / pins * 0.5), ((w / 2, y), reach * 2, h / pins * 0.5)]
        if four:
            sides += [((x, -h / 2), w / pins * 0.5, reach * 2), ((x, h / 2), w / pins * 0.5, reach * 2)]
        for at, pw, ph in sides:
            layers.append(Layer((shapes.box(at, pw, ph),), lead, Finish(bevel=0.4, shadow=0.2), part=part))
            part += 1
    layers.append(Layer((shapes.box((0, 0), w, h, 0.04),), colour, Finish(bevel=0.4, grain=("fine", 0.03))))
    corner = float(rng.choice((-1, 1)))
    layers.append(
        Layer(
            (shapes.ellipse((corner * w * 0.37, -h * 0.37), 0.07),),
            palette.darker(colour, 0.6),
            Finish(bevel=-0.4, shadow=0),
        )
    )
    _, ink = palette.draw(rng, ("white", "black", "yellow", "silver"), colour)
    lines = int(rng.integers(1, 4))
    for k in range(lines):
        x = -w * 0.3
        y = (k - (lines - 1) / 2) * 0.17 + 0.06
        glyphs = []
        while x < w * rng.uniform(0.15, 0.32):
            step = rng.uniform(0.04, 0.09)
            glyphs.append(shapes.box((x + step / 2, y), step, rng.choice((0.06, 0.1))))
            x += step + 0.03
        layers.append(Layer(tuple(glyphs), ink, _FLAT, part=part + k))
    return Product(
        tuple(layers),
        colour,
        "electronics",
        f"A square chip with {counted(pins, 'pin')} on {'four' if four else 'two'} sides.",
        "It is a moulded block with metal pins.",
        f"{name} and printed",
        without=("bend",),
    )


def cable(rng: np.random.Generator) -> Product:
    """A cable cut across: a jacket around insulated wires of copper strands."""
    name, jacket = palette.draw(rng, ("black", "grey", "white", "blue", "orange", "red"))
    r, count = rng.uniform(0.72, 0.86), int(rng.integers(2, 6))
    _, filler = palette.draw(rng, ("white", "beige", "grey", "black"), jacket)
    layers = [
        Layer((shapes.ellipse((0, 0), r),), jacket, Finish(bevel=0.4, gloss=0.2)),
        Layer((shapes.ellipse((0, 0), r * 0.86),), filler, Finish(bevel=-0.3, shadow=0, grain=("soft", 0.04))),
    ]
    space = r * 0.84
    wire = space * {2: 0.47, 3: 0.44, 4: 0.39, 5: 0.35}[count]
    strands = int(rng.choice((1, 7, 7, 12)))
    _, metal = palette.draw(rng, ("copper", "silver", "golden"))
    for k, at in enumerate(shapes.around(count, space - wire, rng.uniform(0, 6))):
        _, coat = palette.draw(rng, palette.BRIGHT + ("white", "black", "brown"), filler)
        layers.append(Layer((shapes.ellipse(at, wire * 0.97),), coat, Finish(bevel=0.35, shadow=0.4), part=k))
        core = wire * 0.6
        layers.append(
            Layer((shapes.ellipse(at, core),), palette.darker(metal, 0.4), Finish(bevel=0, shadow=0.2), part=k)
        )
        if strands == 1:
            layers.append(Layer((shapes.ellipse(at, core * 0.92),), metal, Finish("turned", 0.3, 0, 0.2), part=k))
        else:
            size = core * (0.32 if strands == 7 else 0.24)
            spots = shapes.around(strands - 1, core - size, 0.3, at) + [at]
            layers.append(
                Layer(tuple(shapes.ellipse(s, size, n=18) for s in spots), metal, Finish(bevel=0.35, shadow=0), part=k)
            )
    core_word = "solid" if strands == 1 else "stranded"
    return Product(
        tuple(layers),
        jacket,
        "electronics",
        f"A round cable cut across, with {counted(count, 'wire')}.",
        f"It is made of {core_word} metal wires in a plastic jacket.",
        f"{name} and matt",
        without=("bend", "dent"),
    )


def panel(rng: np.random.Generator) -> Product:
    """A control panel with knobs, lamps and buttons."""
    name, colour = palette.draw(rng, ("grey", "black", "white", "beige", "blue", "green"))
    w, h = rng.uniform(1.45, 1.75), rng.uniform(1.2, 1.7)
    layers = [Layer((shapes.box((0, 0), w, h, 0.1),), colour, Finish(bevel=0.35, grain=("fine", 0.02)))]
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    cell = min(w / columns, h / rows)
    kinds = [int(rng.integers(4)) for _ in range(rows)]
    for j in range(rows):
        _, tone = palette.draw(rng, palette.BRIGHT + ("white", "black", "silver"), colour)
        for i in range(columns):
            part = j * columns + i
            at = ((i + 0.5) / columns * (w - 0.1) - w / 2 + 0.05, (j + 0.5) / rows * (h - 0.1) - h / 2 + 0.05)
            r = cell * 0.3
            if kinds[j] == 0:
                layers.append(Layer((shapes.ellipse(at, r),), tone, Finish("turned", bevel=0.5), part=part))
                angle = rng.uniform(0, 6.28)
                tip = (at[0] + r * 0.8 * np.cos(angle), at[1] + r * 0.8 * np.sin(angle))
                layers.append(Layer((shapes.rod(at, tip, 0.045),), palette.darker(tone, 0.3), _FLAT, part=part))
            elif kinds[j] == 1:
                layers.append(Layer((shapes.ellipse(at, r * 0.75),), (40, 40, 44), Finish(bevel=0.4), part=part))
                layers.append(
                    Layer((shapes.ellipse(at, r * 0.58),), tone, Finish("round", gloss=0.6, shadow=0), part=part)
                )
            elif kinds[j] == 2:
                layers.append(Layer((shapes.box(at, r * 1.7, r * 1.2, 0.04),), tone, Finish(bevel=0.5), part=part))
            else:
                layers.append(
                    Layer(
                        (shapes.box(at, r * 0.7, r * 1.9, 0.03),), (40, 40, 44), Finish(bevel=-0.3, shadow=0), part=part
                    )
                )
                layers.append(
                    Layer(
                        (shapes.box((at[0], at[1] - r * 0.4), r * 0.55, r * 0.8, 0.03),),
                        tone,
                        Finish(bevel=0.5),
                        part=part,
                    )
                )
    return Product(
        tuple(layers),
        colour,
        "plastic",
        f"A control panel with {counted(rows, 'row')} of {counted(columns, 'control')}.",
        "It is made of plastic with mounted knobs and buttons.",
        f"{name} and flat",
        without=("bend",),
    )


FAMILIES = {"board": board, "chip": chip, "cable": cable, "panel": panel}
