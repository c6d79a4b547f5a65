"""Containers and their contents: bottles, jars, capsules, blister packs, caps."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.procedural import palette, shapes
from iadgpt_jax.procedural.canvas import Finish, Layer
from iadgpt_jax.procedural.product import Product, article, counted

_UP = np.pi / 2


def bottle(rng: np.random.Generator) -> Product:
    """A bottle seen from the side, with a cap and a printed label."""
    name, colour = palette.draw(rng, ("green", "brown", "blue", "white", "teal", "orange", "pink"))
    glass = name in ("green", "brown", "blue", "teal") and rng.random() < 0.7
    w, neck = rng.uniform(0.34, 0.52), rng.uniform(0.12, 0.2)
    shoulder, top = rng.uniform(-0.45, -0.2), -0.72
    body = shapes.profile(
        [(top, neck), (shoulder - 0.18, neck), (shoulder, w), (shoulder + 0.1, w), (0.8, w), (0.88, w * 0.9)], smooth=2
    )
    layers = [Layer((body,), colour, Finish("tube", _UP, bevel=0.2, gloss=0.7 if glass else 0.3))]
    cap_name, cap = palette.draw(rng, palette.BRIGHT + ("white", "black", "golden"), colour)
    cap_box = shapes.box((0, top - 0.04), neck * 2.5, 0.24, 0.03)
    layers.append(Layer((cap_box,), cap, Finish("tube", _UP, bevel=0.3, gloss=0.3), part=0))
    _, paper = palette.draw(rng, ("white", "beige", "yellow", "red", "black"), colour)
    _, ink = palette.draw(rng, palette.BRIGHT + ("black", "white"), paper)
    low, high = shoulder + 0.2, 0.72
    mid = (low + high) / 2
    layers.append(
        Layer(
            (shapes.box((0, mid), w * 1.96, high - low),),
            paper,
            Finish("tube", _UP, bevel=0.05, shadow=0.1, gloss=0.05),
            part=1,
        )
    )
    emblem = int(rng.integers(3))
    at = (0.0, low + (high - low) * 0.38)
    if emblem == 0:
        layers.append(Layer((shapes.ellipse(at, w * 0.42),), ink, Finish(bevel=0, shadow=0), part=2))
    elif emblem == 1:
        layers.append(Layer((shapes.regular(at, w * 0.5, 3, -_UP),), ink, Finish(bevel=0, shadow=0), part=2))
    else:
        layers.append(
            Layer((shapes.box(at, w * 1.94, 0.16),), ink, Finish("tube", _UP, bevel=0, shadow=0, gloss=0.05), part=2)
        )
    for k in range(int(rng.integers(1, 4))):
        line = shapes.box((0, high - 0.08 - 0.1 * k), w * rng.uniform(0.8, 1.4), 0.04)
        layers.append(Layer((line,), palette.darker(ink, 0.8), Finish(bevel=0, shadow=0), part=3 + k))
    word = ("circle", "triangle", "band")[emblem]
    return Product(
        tuple(layers),
        colour,
        "glass" if glass else "plastic",
        f"A standing bottle with {article(cap_name)} cap and a label.",
        f"It is a hollow body of {'glass' if glass else 'plastic'}; the label shows a {word}.",
        f"{name} and {'clear' if glass else 'smooth'}",
    )


def jar(rng: np.random.Generator) -> Product:
    """A wide jar with a screw lid, half full."""
    name, fill = palette.draw(rng, ("red", "orange", "yellow", "green", "brown", "purple", "pink"))
    glass = palette.mix(palette.NAMED["white"], palette.NAMED["teal"], 0.15)
    w, bottom = rng.uniform(0.48, 0.66), rng.uniform(0.6, 0.8)
    body = shapes.profile([(-0.5, w * 0.86), (-0.36, w), (bottom - 0.1, w), (bottom, w * 0.88)], smooth=2)
    level = rng.uniform(-0.25, 0.2)
    content = shapes.profile([(level, w * 0.93), (bottom - 0.14, w * 0.93), (bottom - 0.06, w * 0.82)])
    lid_name, lid = palette.draw(rng, ("red", "green", "blue", "golden", "white", "black", "orange"), fill)
    layers = [
        Layer((body,), glass, Finish("tube", _UP, bevel=0.25, gloss=0.6)),
        Layer((content,), fill, Finish("tube", _UP, bevel=0.1, shadow=0, gloss=0.5), part=0),
        Layer((shapes.box((0, -0.6), w * 1.9, 0.28, 0.04),), lid, Finish("tube", _UP, bevel=0.3, gloss=0.3), part=1),
    ]
    ribs = int(rng.integers(7, 14))
    for k, x in enumerate(np.linspace(-0.85, 0.85, ribs)):
        layers.append(
            Layer(
                (shapes.box((x * w, -0.6), 0.022, 0.22),),
                palette.darker(lid, 0.7),
                Finish(bevel=0, shadow=0),
                part=2 + k,
            )
        )
    if rng.random() < 0.6:
        _, paper = palette.draw(rng, ("white", "beige", "black", "yellow"), fill)
        _, ink = palette.draw(rng, palette.BRIGHT, paper)
        at = (0.0, (level + bottom) / 2)
        round_label = rng.random() < 0.5
        label = shapes.ellipse(at, w * 0.55, 0.22) if round_label else shapes.box(at, w * 1.3, 0.34, 0.05)
        layers.append(Layer((label,), paper, Finish(bevel=0.05, shadow=0.15), part=40))
        layers.append(Layer((shapes.box(at, w * 0.7, 0.09),), ink, Finish(bevel=0, shadow=0), part=41))
    return Product(
        tuple(layers),
        fill,
        "glass",
        f"A wide jar with {article(lid_name)} lid, filled with {name} food.",
        "It is made of glass under a ribbed metal lid.",
        f"{name} and clear",
    )


def capsule(rng: np.random.Generator) -> Product:
    """A two-coloured capsule, lying."""
    a_name, a = palette.draw(rng, palette.BRIGHT + ("white", "beige", "brown"))
    b_name, b = palette.draw(rng, palette.BRIGHT + ("white", "beige", "black"), a)
    tilt = float(rng.choice((0, 0.35, -0.5, 1.57, 0.9)))
    width, length = rng.uniform(0.5, 0.66), rng.uniform(0.95, 1.2)
    half = length / 2
    tube = Finish("tube", 0, bevel=0.25, gloss=0.5)
    whole = shapes.rod((-half, 0), (half, 0), width)
    joint = rng.uniform(-0.15, 0.25) * half
    cap = np.concatenate([whole[whole[:, 0] > joint], [(joint, width / 2 * 1.04), (joint, -width / 2 * 1.04)]])
    cap = cap[np.argsort(np.arctan2(cap[:, 1], cap[:, 0] - (joint + half) / 2))]
    layers = [
        Layer((whole,), a, tube),
        Layer((cap * (1, 1.04),), b, Finish("tube", 0, bevel=0.25, shadow=0.15, gloss=0.5)),
        Layer(
            (shapes.box((joint + 0.07, 0), 0.03, width * 1.0),), palette.darker(b, 0.7), Finish("tube", 0, 0, 0, 0.2)
        ),
    ]
    _, ink = palette.draw(rng, ("black", "white", "red", "blue"), a)
    marks = int(rng.integers(1, 4))
    for k in range(marks):
        bar = shapes.box((-half * 0.75 + 0.14 * k, 0), 0.06, width * rng.uniform(0.25, 0.5), 0.01)
        layers.append(Layer((bar,), ink, Finish(bevel=0, shadow=0), part=k))
    turned = tuple(layer.moved(0, 0, tilt, (0, 0)) for layer in layers)
    return Product(
        turned,
        a,
        "plastic",
        f"A lying capsule with {counted(marks, 'printed bar')}.",
        f"It is made of gelatine, {article(a_name)} half in {article(b_name)} half.",
        f"{a_name} and glossy",
    )


def blister(rng: np.random.Generator) -> Product:
    """A blister pack of tablets."""
    foil_name, foil = palette.draw(rng, ("silver", "golden", "white", "blue", "grey"))
    pill_name, pill = palette.draw(rng, palette.BRIGHT + ("white", "beige"), foil)
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    w, h = rng.uniform(1.35, 1.7), rng.uniform(1.35, 1.7)
    layers = [Layer((shapes.box((0, 0), w, h, 0.12),), foil, Finish(bevel=0.3, grain=("fine", 0.04)))]
    r = min(w / columns, h / rows) * rng.uniform(0.28, 0.36)
    oblong = rng.random() < 0.35
    cells = [
        ((i + 0.5) / columns * w - w / 2, (j + 0.5) / rows * h - h / 2) for j in range(rows) for i in range(columns)
    ]
    for x, y in cells:
        dome = shapes.ellipse((x, y), r * 1.3)
        layers.append(Layer((dome,), palette.darker(foil, 0.85), Finish("round", bevel=-0.35, shadow=0, gloss=0.1)))
    for k, at in enumerate(cells):
        tablet = shapes.box(at, r * 2, r * 1.25, r * 0.6) if oblong else shapes.ellipse(at, r)
        layers.append(Layer((tablet,), pill, Finish("round", bevel=0.3, gloss=0.35), part=k))
    return Product(
        tuple(layers),
        foil,
        "plastic",
        f"A blister pack with {counted(rows, 'row')} of {counted(columns, 'tablet')}.",
        f"It is made of {foil_name} foil holding {pill_name} {'oblong' if oblong else 'round'} tablets.",
        f"{foil_name} and shiny",
        without=("bend",),
    )


def cap(rng: np.random.Generator) -> Product:
    """A crown cap or screw cap from above, with a printed emblem."""
    name, colour = palette.draw(rng, palette.BRIGHT + ("black", "white", "golden"))
    r, teeth = rng.uniform(0.66, 0.82), int(rng.integers(16, 26))
    crown = rng.random() < 0.5
    outline = (
        shapes.toothed((0, 0), r * 0.93, r, teeth, 0.5, 0.9)
        if crown
        else shapes.toothed((0, 0), r * 0.97, r, teeth + 14, 0.4, 0.3)
    )
    layers = [
        Layer((outline,), palette.darker(colour, 0.85), Finish(bevel=0.5)),
        Layer((shapes.ellipse((0, 0), r * 0.8),), colour, Finish("round", bevel=0.4, shadow=0.2, gloss=0.25)),
    ]
    _, ink = palette.draw(rng, palette.ANY, colour)
    flat = Finish(bevel=0, shadow=0)
    kind = int(rng.integers(4))
    if kind == 0:
        layers.append(Layer((shapes.ellipse((0, 0), r * 0.6), shapes.ellipse((0, 0), r * 0.48)), ink, flat, part=0))
        layers.append(Layer((shapes.toothed((0, 0), r * 0.16, r * 0.38, 5, 0.9, 1.0, -_UP),), ink, flat, part=1))
    elif kind == 1:
        for k in range(3):
            layers.append(
                Layer((shapes.box((0, (k - 1) * r * 0.3), r * (1.0 if k == 1 else 0.8), r * 0.16),), ink, flat, part=k)
            )
    elif kind == 2:
        for k, at in enumerate(shapes.around(int(rng.integers(3, 8)), r * 0.45, rng.uniform(0, 6))):
            layers.append(Layer((shapes.ellipse(at, r * 0.13),), ink, flat, part=k))
    else:
        layers.append(
            Layer((shapes.regular((0, 0), r * 0.5, int(rng.integers(3, 7)), rng.uniform(0, 6)),), ink, flat, part=0)
        )
        layers.append(Layer((shapes.ellipse((0, 0), r * 0.2),), colour, flat, part=1))
    emblem = ("a star", "bars", "dots", "a badge")[kind]
    return Product(
        tuple(layers),
        colour,
        "metal" if crown else "plastic",
        f"A round bottle cap with {emblem} printed on top.",
        f"It is made of {'metal' if crown else 'plastic'} with a {'crimped' if crown else 'ribbed'} edge.",
        f"{name} and painted",
    )


FAMILIES = {"bottle": bottle, "jar": jar, "capsule": capsule, "blister": blister, "cap": cap}
