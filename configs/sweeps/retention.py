"""Retention (IADGPT, Table 4): what share of their tokens references after the first one keep, at four shots.

One model for each seed, trained once; only its evaluation differs.
"""

from configs.sweeps.common import aurocs, chain, detection
from iadgpt_jax.sweep.spec import Setting, Sweep

PUBLISHED = {1.0: (93.5, 97.5), 0.4: (93.5, 97.4), 0.2: (93.4, 97.4), 0.1: (92.6, 97.2), 0.05: (91.7, 96.9)}


def get_sweep(size: str = "tiny") -> Sweep:
    return Sweep(
        name="retention",
        title="Retained tokens of further references",
        heads=("retention", "compression"),
        settings=tuple(
            Setting(
                f"r{ratio:g}",
                (f"{ratio:.0%}", f"{3 * (1 - ratio) / 4:.2%}"),  # of the tokens of four references, nine (eq. 9)
                chain(size),
                {"ratio": ratio},
                dict(zip(("image_auroc", "pixel_auroc"), published, strict=True)),
            )
            for ratio, published in PUBLISHED.items()
        ),
        columns=aurocs(4),
        evaluations=detection("4"),
        source="IADGPT, Table 4",
        published_on="VisA at 4 shots",
        notes=("The tiny model has 16 tokens an image: 5 % is one of them.",) if size == "tiny" else (),
    )
