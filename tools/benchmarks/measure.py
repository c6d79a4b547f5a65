"""Time two ways of doing the same work, and report the ratio.

Runs alternate, ours, peer, ours, peer, so that other load on the machine hits both. Every round gives one ratio; the
result is the median.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import torch

from iadgpt_jax.errors import InputError
from iadgpt_jax.flops import peak_flops

LIBRARIES = ("jax", "flax", "torch", "transformers", "numpy", "pillow")
Run = Callable[[], None]
SIDES = ("ours", "peer")


@dataclass(frozen=True)
class Measurement:
    """The same work on two sides.

    unit: "<time> per <piece>", the time being one of `UNITS`; pieces: how many one run does. ours, peer: do the work
    once and wait until it is done. others: further ways, reported too. agreement: name of an output -> (greatest
    difference between the two sides, bound). work: a description for readers. target: the ratio aimed at on two CPU
    cores. flops: model FLOPs of one run. sides: names of the two sides, where both are ours.
    """

    name: str
    unit: str
    pieces: float
    ours: Run
    peer: Run
    agreement: dict[str, tuple[float, float]]
    work: str
    target: float | None
    others: dict[str, Run] = field(default_factory=dict)
    flops: float | None = None
    sides: tuple[str, str] = SIDES


UNITS = {"ms": 1e3, "s": 1.0}


def measure(measurement: Measurement, repeats: int) -> dict:
    """The record of a measurement. One run of each side goes before and is not counted.

    Raises:
      InputError: the outputs of the two sides differ by more than their bound.
    """
    m = measurement
    for what, (difference, bound) in m.agreement.items():
        if not difference <= bound:
            raise InputError(f"{m.name}: {what} of the two sides differ by {difference:.2g}, more than {bound:.0e}")
    sides = {"ours": m.ours, "peer": m.peer, **m.others}
    for run in sides.values():
        run()
    memory = _peak_bytes() if m.sides == SIDES else {}  # of two sides of ours there is only one peak
    seconds = interleaved(sides, repeats)
    scale = UNITS[m.unit.split()[0]] / m.pieces
    ratios = [peer / ours for ours, peer in zip(seconds["ours"], seconds["peer"], strict=True)]
    record: dict = {
        "name": m.name,
        "unit": m.unit,
        "sides": list(m.sides),
        "ours": _summary(seconds["ours"], scale),
        "peer": _summary(seconds["peer"], scale),
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "target": m.target},
        "agreement": {what: {"difference": d, "bound": b} for what, (d, b) in m.agreement.items()},
        "work": m.work,
        "machine": machine(),
        "versions": versions(),
    }
    if m.others:
        record["others"] = {name: _summary(seconds[name], scale) for name in m.others}
    peak = peak_flops(jax.devices()[0].device_kind)
    if m.flops is not None:
        rate = m.flops / statistics.median(seconds["ours"])
        record["ours"]["teraflops_per_second"] = rate / 1e12
        if peak:
            record["ours"]["mfu"] = rate / peak
    for side, bytes_ in memory.items():
        record[side]["peak_bytes"] = bytes_
    return record


def interleaved(sides: dict[str, Run], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run of every side; sides take turns. Garbage is collected before each run."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.freeze()  # the traces and programs of earlier measurements can take minutes to walk: once is enough
    try:
        for _ in range(repeats):
            for name, run in sides.items():
                gc.collect()
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    finally:
        gc.unfreeze()
    return seconds


def table(records: list[dict]) -> str:
    """The records as a table, with a new header wherever the two sides have other names."""
    lines, sides = [], None
    for r in records:
        if r["sides"] != sides:
            sides = r["sides"]
            ours, peer = sides
            lines.append(f"{'':<14}{ours:>10}{peer:>10}  {'unit':<14}{'ratio':>7}{'min':>7}{'max':>7}{'target':>8}")
        ratio, target = r["ratio"], r["ratio"]["target"]
        lines.append(
            f"{r['name']:<14}{r['ours']['median']:>10.4g}{r['peer']['median']:>10.4g}  {r['unit']:<14}"
            f"{ratio['median']:>7.2f}{ratio['min']:>7.2f}{ratio['max']:>7.2f}{'' if target is None else target:>8}"
        )
        for name, other in r.get("others", {}).items():
            lines.append(f"{'':<24}{other['median']:>10.4g}  {name}")
    return "\n".join(lines)


def machine() -> dict:
    """The hardware and malloc's settings; no host name."""
    device = jax.devices()[0]
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": None if device.platform == "cpu" else device.device_kind,
        "malloc": os.environ.get("GLIBC_TUNABLES", ""),
    }


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def _summary(seconds: list[float], scale: float) -> dict:
    values = [value * scale for value in seconds]
    return {"median": statistics.median(values), "runs": values}


def _cpu() -> str:
    """The processor's model, as the operating system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _peak_bytes() -> dict[str, int]:
    """Peak GPU memory of each side so far; {} on a CPU."""
    peaks = {}
    stats = jax.devices()[0].memory_stats() if jax.default_backend() == "gpu" else None
    if stats:
        peaks["ours"] = stats["peak_bytes_in_use"]
    if torch.cuda.is_available():
        peaks["peer"] = torch.cuda.max_memory_allocated()
    return peaks
