"""Components (IADGPT, Table 3): the stages, multi-layer visual embedding with adaptive weights, token compression.

At two shots, as the paper: with compression the second reference keeps a fifth of its tokens.
"""

from configs.sweeps.common import NO, YES, aurocs, chain, detection, without_compression, without_fusion
from iadgpt_jax.sweep.spec import Column, Evaluation, Setting, Sweep


def get_sweep(size: str = "tiny") -> Sweep:
    plain, whole = without_fusion(size), without_compression()

    def row(name: str, marks: str, stages, published: tuple[float, float, float], ratio: float = 1.0) -> Setting:
        shown = tuple(YES if mark == "1" else NO for mark in marks)
        names = ("image_auroc", "pixel_auroc", "sbert")
        return Setting(name, shown, stages, {"ratio": ratio}, dict(zip(names, published, strict=True)))

    return Sweep(
        name="components",
        title="Components",
        heads=("S1", "S2", "S3", "Layer", "Comp"),
        settings=(
            row("stage3", "00100", chain(size, plain, whole, stages=("stage3",)), (88.5, 95.1, 0.81)),
            row("stages13", "10100", chain(size, plain, whole, stages=("stage1", "stage3")), (88.1, 95.3, 0.86)),
            row("stages123", "11100", chain(size, plain, whole), (91.7, 97.0, 0.85)),
            row("layers", "11110", chain(size, whole), (92.4, 97.3, 0.85)),
            row("compression", "11111", chain(size), (92.2, 97.2, 0.86), ratio=0.2),
        ),
        columns=(*aurocs(2), Column("sbert", "SBERT", "reasoning.sbert", "reasoning", scale=1.0, digits=2)),
        evaluations={**detection("2"), "reasoning": Evaluation("")},
        source="IADGPT, Table 3",
        published_on="VisA at 2 shots, and VisA-D&R",
    )
