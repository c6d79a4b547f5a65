"""What is known about each kind of defect: its likely cause and the remedy, per class of material.

One cause and one remedy for each (kind, material) pair, so that a reasoned answer can be right or wrong.
"""

from __future__ import annotations

from typing import NamedTuple

MATERIALS = ("metal", "plastic", "glass", "wood", "fabric", "ceramic", "electronics", "food", "leather")

# kind: (cause, remedy) for every material not named below it
_DEFAULT: dict[str, tuple[str, str]] = {
    "scratch": ("contact with a sharp tool", "cover the tool edge"),
    "crack": ("mechanical overload", "reduce the clamping force"),
    "dent": ("impact during handling", "soften the transport rail"),
    "hole": ("a misplaced punch", "check the punch position"),
    "stain": ("leaking oil", "seal the oil line"),
    "foreign particle": ("dust in the workshop", "clean the workshop air"),
    "fibre": ("a loose thread from clothing", "wear lint free clothing"),
    "broken edge": ("a hard knock", "pad the holder"),
    "misprint": ("a faulty printer", "service the printer"),
    "smear": ("touching before drying", "extend the drying time"),
    "bend": ("uneven pressure", "level the press"),
    "speckles": ("moisture in storage", "dry the storage room"),
    "burn": ("an overheated tool", "lower the tool temperature"),
    "missing part": ("an empty part feeder", "refill the part feeder"),
    "moved part": ("a loose fixture", "tighten the fixture"),
    "wrong colour": ("a mixed up part", "sort the parts"),
}

_PARTICULAR: dict[tuple[str, str], tuple[str, str]] = {
    ("scratch", "glass"): ("grit on the conveyor", "rinse the conveyor"),
    ("scratch", "leather"): ("a worn roller", "replace the roller"),
    ("crack", "ceramic"): ("cooling too fast", "slow down the cooling"),
    ("crack", "glass"): ("thermal shock", "warm up the mould"),
    ("crack", "wood"): ("drying too fast", "slow down the drying"),
    ("crack", "food"): ("baking too long", "shorten the baking time"),
    ("hole", "fabric"): ("a broken needle", "replace the needle"),
    ("hole", "wood"): ("an insect", "heat the timber"),
    ("hole", "plastic"): ("trapped air in the mould", "vent the mould"),
    ("hole", "food"): ("trapped air in the dough", "knead the dough longer"),
    ("stain", "fabric"): ("a dye spill", "clean the dye bath"),
    ("stain", "food"): ("burnt sugar", "clean the baking tray"),
    ("stain", "electronics"): ("flux residue", "wash the board"),
    ("foreign particle", "electronics"): ("a solder ball", "adjust the solder paste"),
    ("foreign particle", "food"): ("a worn sieve", "replace the sieve"),
    ("speckles", "metal"): ("corrosion by moisture", "oil the surface"),
    ("speckles", "food"): ("mould growth", "dry the storage room"),
    ("burn", "food"): ("an overheated oven", "lower the oven temperature"),
    ("burn", "electronics"): ("a short circuit", "test the circuit"),
    ("broken edge", "wood"): ("a blunt saw", "sharpen the saw"),
    ("bend", "fabric"): ("uneven thread tension", "balance the thread tension"),
    ("missing part", "electronics"): ("a pick and place error", "calibrate the placement head"),
    ("moved part", "electronics"): ("a shift during soldering", "calibrate the placement head"),
}

KINDS = tuple(_DEFAULT)


class Facts(NamedTuple):
    """A defect in words: kind, a noun phrase without article ("missing part"); cause, a noun phrase; remedy, an
    imperative."""

    kind: str
    cause: str
    remedy: str


def facts(kind: str, material: str) -> Facts:
    """The facts of a defect of this kind on this class of material."""
    cause, remedy = _PARTICULAR.get((kind, material), _DEFAULT[kind])
    return Facts(kind, cause, remedy)


def every() -> list[Facts]:
    """All facts there are."""
    return [facts(kind, material) for kind in KINDS for material in MATERIALS]
