"""Positions of images: Qwen's M-RoPE, which runs on from image to image, or heights and widths that start again with
each ("aligned"). The paper does not compare them.
"""

from configs.sweeps.common import aurocs, chain, detection
from iadgpt_jax.models.registry import preset
from iadgpt_jax.sweep.spec import Setting, Sweep


def get_sweep(size: str = "tiny") -> Sweep:
    usual = preset(size.partition("@")[0].partition(",")[0]).positions

    def stages(positions: str):
        return chain(size, {} if positions == usual else {"model.positions": positions})

    return Sweep(
        name="positions",
        title="Positions across images",
        heads=("positions",),
        settings=tuple(
            Setting(name, (shown,), stages(name)) for name, shown in {"qwen": "M-RoPE", "aligned": "aligned"}.items()
        ),
        columns=(*aurocs(1, "1-shot "), *aurocs(2, "2-shot "), *aurocs(4, "4-shot ")),
        evaluations=detection("1,2,4"),
    )
