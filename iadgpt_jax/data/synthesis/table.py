"""The table of synthesizers: ways to make a defect on a good photograph. Tasks name them in their option
`synthesizers`; a new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from iadgpt_jax.data.synthesis.cutpaste import cutpaste
from iadgpt_jax.data.synthesis.nsa import nsa


@dataclass(frozen=True)
class Synthesizer:
    """make(image uint8[H, W, 3], rng) -> (image with a defect, mask uint8[H, W] in {0, 1}), or None where no defect
    would show; with `another`, make(image, rng, another good image of the product). kind: what it makes, in words."""

    name: str
    kind: str
    make: Callable[..., tuple[np.ndarray, np.ndarray] | None]
    another: bool = False


SYNTHESIZERS: dict[str, Synthesizer] = {
    synthesizer.name: synthesizer
    for synthesizer in (
        Synthesizer("cutpaste", "misplaced patch", cutpaste),
        Synthesizer("nsa", "blended-in patch", nsa, another=True),
    )
}
