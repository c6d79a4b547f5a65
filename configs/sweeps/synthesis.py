"""Where defects to train on come from: photographed ones alone, or ones made from good photographs, with CutPaste, NSA
or both. The paper uses CutPaste and does not compare.

`photographed` has no twins in stage 2 either (second images that are the first one, half of them with a made defect).
"""

from configs.sweeps.common import aurocs, chain, detection, synthetic
from iadgpt_jax.sweep.spec import Setting, Sweep


def get_sweep(size: str = "tiny") -> Sweep:
    made = {
        "photographed": ("0 %", "–", synthetic(0.0, twins=0.0)),
        "default": ("10 %", "as configured", {}),
        "cutpaste": ("100 %", "CutPaste", synthetic(1.0, "cutpaste")),
        "nsa": ("100 %", "NSA", synthetic(1.0, "nsa")),
        "cutpaste_nsa": ("100 %", "CutPaste, NSA", synthetic(1.0, "cutpaste", "nsa")),
    }
    return Sweep(
        name="synthesis",
        title="Synthetic defects",
        heads=("synthetic", "made by"),
        settings=tuple(Setting(name, (share, by), chain(size, changes)) for name, (share, by, changes) in made.items()),
        columns=(*aurocs(1, "1-shot "), *aurocs(4, "4-shot ")),
        evaluations=detection("1,4"),
    )
