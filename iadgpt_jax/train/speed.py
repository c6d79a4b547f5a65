"""How fast a run is, by what it trained on and not by what its rows could hold: rates, FLOPs by formula, MFU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tally import Tally
from iadgpt_jax.flops import peak_flops, step_flops
from iadgpt_jax.models.protocols import ModelConfig


@dataclasses.dataclass(frozen=True)
class Speed:
    """Tallies -> rates of the whole run.

    flops: model FLOPs of what a tally counts, padding left out (`content_flops`). devices: all that work together.
    """

    flops: Callable[[Tally], float]
    devices: int
    peak: float | None  # FLOP/s of one device; None where nobody publishes it

    @classmethod
    def of(cls, config: ModelConfig, shape: RowShape, *, frozen: str, maps: bool) -> Speed:
        """On the devices JAX has. Arguments as of `content_flops`."""
        peak = peak_flops(jax.devices()[0].device_kind)
        return cls(
            lambda tally: content_flops(config, shape, tally, frozen=frozen, maps=maps), jax.device_count(), peak
        )

    def rates(self, tally: Tally, seconds: float) -> dict[str, float]:
        """tokens, images and queries per second, model TFLOP/s, and MFU where the devices' peak is known.
        `tally`: of all processes."""
        counts = {"tokens": tally.slots, "images": tally.images, "queries": tally.queries}
        rates = {f"{what}_per_second": count / seconds for what, count in counts.items()}
        flops = self.flops(tally) / seconds
        rates["model_teraflops_per_second"] = flops / 1e12
        if self.peak:
            rates["mfu"] = flops / (self.devices * self.peak)
        return rates


def content_flops(config: ModelConfig, shape: RowShape, tally: Tally, *, frozen: str, maps: bool) -> float:
    """Model FLOPs of training on what `tally` counts, by the formula of flops.py; empty slots count nothing.

    frozen: config.frozen. maps: whether maps are supervised.
    """
    rows = tally.slots_room / shape.slots
    if not rows:
        return 0.0
    content = dataclasses.replace(
        shape, lanes=None, slots=tally.slots / rows, images=tally.images / rows, targets=tally.targets / rows,
        maps=tally.maps / rows,
    )  # fmt: skip
    return step_flops(config, content, rows, frozen=frozen, maps=maps, pairs=tally.pairs / rows)
