"""Pixel loss and multi-layer attention (IADGPT, Table 6), at two shots with compression, as the paper's last rows.

Without the pixel loss nothing trains the maps, in any stage. Without several layers a map is the last tapped layer's.
"""

from configs.sweeps.common import NO, YES, aurocs, chain, detection, of_maps, without_pixel_loss
from iadgpt_jax.sweep.spec import Setting, Sweep


def get_sweep(size: str = "tiny") -> Sweep:
    one_layer = of_maps(size, {"model.map_layers": "last"})
    rows = {
        "neither": ((NO, NO), chain(size, one_layer, without_pixel_loss(size)), (90.6, 90.5)),
        "pixel_loss": ((NO, YES), chain(size, one_layer), (92.0, 96.7)),
        "both": ((YES, YES), chain(size), (92.2, 97.2)),
    }
    return Sweep(
        name="pixel_loss",
        title="Pixel loss and multi-layer attention",
        heads=("Multi-Layer", "pixel loss"),
        settings=tuple(
            Setting(name, marks, stages, {"ratio": 0.2}, {"image_auroc": published[0], "pixel_auroc": published[1]})
            for name, (marks, stages, published) in rows.items()
        ),
        columns=aurocs(2),
        evaluations=detection("2"),
        source="IADGPT, Table 6",
        published_on="VisA at 2 shots",
    )
