"""What should not happen while training, and what it would cost: the step compiled again, memory running full."""

from __future__ import annotations

import sys

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"  # the event jax.monitoring names a compilation by


class Recompilations:
    """Counts how often the jitted function called `name` was compiled after the first time, and says so at once.

    One shape for every row is the design (docs/design.md), so any number but 0 is a fault, and an expensive one.
    """

    def __init__(self, name: str):
        self.name, self.compiled, self.seconds = f"jit({name})", 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, seconds: float, **about) -> None:
        if event != COMPILED or about.get("fun_name") != self.name:
            return
        self.compiled, self.seconds = self.compiled + 1, self.seconds + seconds
        if self.count:
            print(
                f"warning: the training step was compiled again, {seconds:.0f} s: the shape, dtype or sharding of what "
                "it is given has changed (JAX_EXPLAIN_CACHE_MISSES=1 says which)",
                file=sys.stderr,
            )

    @property
    def count(self) -> int:
        return max(self.compiled - 1, 0)

    def close(self) -> None:
        jax.monitoring.unregister_event_duration_listener(self._heard)


def device_memory() -> dict[str, float]:
    """GiB in use and at most so far, of this process's fullest device; {} where the backend does not say (a CPU)."""
    known = [stats for device in jax.local_devices() if (stats := device.memory_stats())]
    found = {}
    for field, name in (("bytes_in_use", "memory_gib"), ("peak_bytes_in_use", "memory_peak_gib")):
        if values := [stats[field] for stats in known if field in stats]:
            found[name] = max(values) / 2**30
    return found
