"""A report of ahead/report.py as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def report_lines(r: dict[str, Any]) -> Iterator[str]:
    """Memory first, since it decides; then arithmetic, collectives and what bounds the step."""
    slices = f"{r['num_slices']} × " if r["num_slices"] > 1 else ""
    mesh = " × ".join(f"{axis} {size}" for axis, size in r["mesh"].items())
    yield f"stage {r['stage']}, {r['size']}, {r['step']} step on {slices}{r['topology']} ({r['devices']} devices)"
    yield f"  mesh {mesh}; {r['rows']} rows of {r['slots']} slots and {r['images']} images; remat {r['remat']}"
    yield f"  traced in {r['trace_seconds']} s, compiled in {r['compile_seconds']} s"
    share = r["hbm_peak_bytes"] / r["hbm_capacity_bytes"]
    yield ""
    yield f"memory per chip     {_gib(r['hbm_peak_bytes'])} of {_gib(r['hbm_capacity_bytes'])}, {share:.0%}"
    if "argument_bytes" not in r:
        yield f"  state and rows    {_gib(r['state_bytes'])}"
        return
    for name in ("argument", "temporary", "result", "code"):
        yield f"  {name:<17} {_gib(r[f'{name}_bytes'])}"
    yield ""
    yield "FLOPs per chip and step"
    yield f"  by formula        {r['model_flops']:.3e}"
    yield f"  compiled          {r['compiled_flops']:.3e}, {r['flops_ratio']:.2f} × the formula"
    yield f"  per byte moved    {r['arithmetic_intensity']:.0f} ({r['hbm_traffic_bytes']:.2e} bytes of main memory)"
    yield ""
    yield f"{'collectives':<20}{'count':>8}{'payload':>12}{'sent':>12}{'hidden':>8}"
    for table in (r["collectives"], r["collectives_by_axis"]):
        for name, row in table.items():
            hidden = row["hidden_bytes"] / row["wire_bytes"] if row["wire_bytes"] else 1.0
            yield (
                f"  {name:<18}{row['count']:>8.0f}{_gib(row['bytes']):>12}{_gib(row['wire_bytes']):>12}{hidden:>8.0%}"
            )
    t = r["roofline"]
    yield ""
    yield f"bound on a step     {t['step_seconds']:.3f} s by {t['limit']}, MFU at most {t['mfu']:.0%}"
    yield f"  nothing hidden that is not scheduled so: {t['exposed_step_seconds']:.3f} s, MFU {t['exposed_mfu']:.0%}"
    for name in ("arithmetic", "memory", "links", "network"):
        yield f"  {name:<17} {t[f'{name}_seconds']:.3f} s"
    yield "assumed"
    yield from (f"  {line}" for line in t["assumptions"])
    if r["unknown_loops"]:
        yield f"counted once, for want of a trip count: {', '.join(r['unknown_loops'])}"
    if r["unknown_kernels"]:
        yield f"kernels without a FLOP count: {', '.join(r['unknown_kernels'])}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
