"""Surfaces that fill the picture: cloth, wood, tiles, grids, stone, corrugated sheets."""

from __future__ import annotations

import numpy as np

from iadgpt_jax.procedural import palette, patterns, shapes
from iadgpt_jax.procedural.canvas import Finish, Layer
from iadgpt_jax.procedural.product import Product, counted

_ALL = shapes.box((0, 0), 2.6, 2.6)
_FLAT = Finish(bevel=0, shadow=0, gloss=0)


def textile(rng: np.random.Generator) -> Product:
    """Woven cloth, plain or twill, with stripes and printed figures."""
    name, warp = palette.draw(rng, palette.ANY)
    weft_name, weft = palette.draw(rng, palette.ANY, warp)
    if rng.random() < 0.5:
        weft_name, weft = name, palette.darker(warp, 0.8)
    twill = int(rng.choice((1, 1, 2, 3)))
    stripe = (palette.draw(rng, palette.ANY, warp)[1], int(rng.integers(5, 12))) if rng.random() < 0.4 else None
    cloth = patterns.woven(warp, weft, int(rng.integers(18, 34)), twill, stripe)
    layers = [Layer((_ALL,), finish=_FLAT, pattern=cloth)]
    figures = int(rng.choice((0, 0, 1, 4, 5)))
    _, ink = palette.draw(rng, palette.ANY, palette.mix(warp, weft, 0.5))
    corners = int(rng.integers(3, 7))
    places = (
        [(0.0, 0.0)] if figures == 1 else [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (0.0, 0.0)][:figures]
    )
    for k, at in enumerate(places):
        size = 0.34 if figures == 1 else 0.2
        layers.append(Layer((shapes.regular(at, size, corners, -np.pi / 2),), ink, _FLAT, part=k))
    detail = f", printed with {counted(figures, 'figure')}" if figures else ""
    stripes = " and stripes" if stripe else ""
    return Product(
        tuple(layers),
        warp,
        "fabric",
        f"A flat cloth with fine threads{stripes}{detail}.",
        f"It is made of {'twill' if twill > 1 else 'plain'} woven {name} and {weft_name} yarn.",
        f"{name} and woven",
        without=("broken edge",),
    )


def wood(rng: np.random.Generator) -> Product:
    """A wooden board or parquet strips with screws or dowels."""
    name, light = palette.draw(rng, ("beige", "brown", "orange", "grey"))
    dark = palette.mix(palette.darker(light, rng.uniform(0.55, 0.72)), (90, 50, 25), 0.25)
    upright = rng.random() < 0.5
    grain = patterns.wood(light, dark, rng.uniform(2, 6), rng.uniform(0.25, 0.7), upright)
    layers = [Layer((_ALL,), finish=_FLAT, pattern=grain)]
    planks = int(rng.integers(1, 5))
    for k in range(1, planks):
        at = -1 + 2 * k / planks
        line = shapes.box((at, 0), 0.035, 2.6) if upright else shapes.box((0, at), 2.6, 0.035)
        layers.append(Layer((line,), palette.darker(dark, 0.35), Finish(bevel=0.3, shadow=0)))
    plugs = int(rng.choice((0, 1, 2, 4, 4)))
    _, tone = palette.draw(rng, ("silver", "golden", "black", "brown"), light)
    phase = rng.uniform(0, 6)
    for k, at in enumerate(shapes.around(plugs, 0.6 if plugs > 1 else 0.1, phase)):
        layers.append(Layer((shapes.ellipse(at, 0.11),), tone, Finish("turned", bevel=0.4), part=k))
        layers.append(Layer((shapes.box(at, 0.15, 0.035, 0, phase),), palette.darker(tone, 0.35), _FLAT, part=k))
    detail = f" and {counted(plugs, 'screw')}" if plugs else ""
    return Product(
        tuple(layers),
        light,
        "wood",
        f"A flat board of {counted(planks, 'plank')}{detail}.",
        f"It is made of wood with {'vertical' if upright else 'horizontal'} grain.",
        f"{name} and grained",
        without=("broken edge", "bend"),
    )


def tile(rng: np.random.Generator) -> Product:
    """Ceramic tiles with joints, some with a printed ornament."""
    name, glaze = palette.draw(rng, ("white", "beige", "blue", "green", "teal", "grey", "red", "brown", "pink"))
    vein = palette.mix(glaze, palette.draw(rng, palette.PLAIN, glaze)[1], 0.6)
    body = patterns.stone(glaze, vein, rng.uniform(0.0, 0.1), rng.choice((0, 0, 0.35, 0.5)))
    count = int(rng.integers(1, 4))
    joint_name, joint = palette.draw(rng, ("grey", "white", "black"), glaze)
    layers = [Layer((_ALL,), joint, Finish(bevel=0, shadow=0, grain=("fine", 0.04)))]
    pitch, gap = 2 / count, rng.uniform(0.05, 0.09)
    ornament = int(rng.integers(4))
    _, ink = palette.draw(rng, palette.BRIGHT + ("black", "white"), glaze)
    cells = [(-1 + (i + 0.5) * pitch, -1 + (j + 0.5) * pitch) for j in range(count) for i in range(count)]
    for k, at in enumerate(cells):
        layers.append(
            Layer(
                (shapes.box(at, pitch - gap, pitch - gap, 0.03),),
                finish=Finish(bevel=0.35, shadow=0.2, gloss=0.3),
                pattern=body,
            )
        )
        r = pitch * 0.3
        if ornament == 1:
            layers.append(Layer((shapes.ellipse(at, r), shapes.ellipse(at, r * 0.7)), ink, _FLAT, part=k))
        elif ornament == 2:
            layers.append(Layer((shapes.toothed(at, r * 0.35, r, 4, 1.0, 1.0, 0.785),), ink, _FLAT, part=k))
        elif ornament == 3:
            layers.append(Layer((shapes.regular(at, r, 4),), ink, _FLAT, part=k))
    detail = (" without ornament", " with printed rings", " with printed stars", " with printed diamonds")[ornament]
    return Product(
        tuple(layers),
        glaze,
        "ceramic",
        f"A wall of {counted(count * count, 'square tile')}{detail}.",
        f"It is made of glazed ceramic with {joint_name} joints." if count > 1 else "It is one glazed ceramic body.",
        f"{name} and glazed",
        without=("broken edge", "bend", "dent"),
    )


def mesh(rng: np.random.Generator) -> Product:
    """A wire grid or a perforated sheet before a backing."""
    name, colour = palette.draw(rng, palette.METALS + ("black", "white", "green", "blue"))
    count = int(rng.integers(4, 8))
    pitch = 2 / count
    wires = rng.random() < 0.5
    layers: list[Layer] = []
    if wires:
        width, slant = pitch * rng.uniform(0.22, 0.34), float(rng.choice((0, 0, np.pi / 4)))
        for k in range(-1 - count // 2, count + 2 + count // 2):
            at = -1 + (k + 0.5) * pitch
            for turn in (slant, slant + np.pi / 2):
                line = shapes.turn(shapes.box((0, at), 4, width), turn)
                layers.append(Layer((line,), colour, Finish("tube", turn, bevel=0.1, shadow=0.3, gloss=0.3)))
    else:
        layers.append(Layer((_ALL,), colour, Finish(bevel=0, shadow=0, grain=("brush", 0.04))))
        corners = int(rng.choice((4, 6, 40)))
        for j in range(count):
            for i in range(count):
                at = (-1 + (i + 0.5) * pitch, -1 + (j + 0.5) * pitch)
                layers.append(
                    Layer((shapes.regular(at, pitch * 0.32, corners, np.pi / 4),), cut=True, part=j * count + i)
                )
    shape = (
        f"A wire grid with {counted(count, 'opening')} across."
        if wires
        else f"A perforated sheet with {counted(count, 'hole')} across."
    )
    return Product(
        tuple(layers),
        colour,
        "metal",
        shape,
        f"It is made of {'crossed metal wires' if wires else 'punched metal sheet'}.",
        f"{name} and regular",
        without=("broken edge", "dent"),
    )


def slab(rng: np.random.Generator) -> Product:
    """Terrazzo, cork or foam with inlaid strips."""
    name, colour = palette.draw(rng, palette.PLAIN + ("pink", "teal", "yellow"))
    speck_name, speck = palette.draw(rng, palette.ANY, colour)
    layers = [Layer((_ALL,), finish=_FLAT, pattern=patterns.speckled(colour, speck, rng.uniform(0.2, 0.9)))]
    inlays = int(rng.integers(0, 4))
    _, tone = palette.draw(rng, ("golden", "black", "white", "red", "blue"), colour)
    for k in range(inlays):
        at = rng.uniform(-0.6, 0.6, 2)
        angle = float(rng.choice((0, np.pi / 2, 0.785)))
        piece = shapes.box((at[0], at[1]), rng.uniform(0.5, 1), 0.12, 0.03, angle)
        layers.append(Layer((piece,), tone, Finish(bevel=0.3, shadow=0.15), part=k))
    detail = f" with {counted(inlays, 'inlaid strip')}" if inlays else ""
    return Product(
        tuple(layers),
        colour,
        "ceramic",
        f"A flat slab{detail}.",
        f"It is made of cast stone with {speck_name} grains.",
        f"{name} and speckled",
        without=("broken edge", "bend", "dent"),
    )


def corrugated(rng: np.random.Generator) -> Product:
    """A corrugated sheet held by rivets."""
    name, colour = palette.draw(rng, palette.METALS + ("red", "green", "blue", "white"))
    angle = float(rng.choice((0, np.pi / 2, 0.785)))
    waves = int(rng.integers(5, 11))
    layers = [Layer((_ALL,), finish=_FLAT, pattern=patterns.ribbed(colour, 2 / waves, rng.uniform(0.14, 0.26), angle))]
    rivets = int(rng.choice((0, 2, 4, 6)))
    _, tone = palette.draw(rng, ("silver", "black", "golden", "white"), colour)
    for k, at in enumerate(shapes.around(rivets, rng.uniform(0.55, 0.72), rng.uniform(0, 6))):
        layers.append(Layer((shapes.ellipse(at, 0.1),), tone, Finish("round", bevel=0.4, gloss=0.4), part=k))
    detail = f" and {counted(rivets, 'rivet')}" if rivets else ""
    return Product(
        tuple(layers),
        colour,
        "metal",
        f"A corrugated sheet with {counted(waves, 'wave')}{detail}.",
        "It is made of rolled sheet metal.",
        f"{name} and ribbed",
        without=("broken edge",),
    )


FAMILIES = {"textile": textile, "wood": wood, "tile": tile, "mesh": mesh, "slab": slab, "corrugated": corrugated}
