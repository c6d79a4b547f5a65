"""What shared references save: reports on one step with references shared and apart (train/shots.py), compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SIDES = ("shared", "apart")


def compare(reports: dict[str, dict[str, Any]], shots: int, queries: int) -> dict[str, Any]:
    """Reports of both -> {"shots", "queries", "fits", "shared": report, "apart": report, "per_query":
    {"compiled_flops", "model_flops", "slots", "images"} of {"shared", "apart", "ratio"}}; without "per_query" where one
    does not fit."""
    result = {"shots": shots, "queries": queries, "fits": all(r["fits"] for r in reports.values()), **reports}
    if not result["fits"]:
        return result
    asked = reports["shared"]["rows"] * queries
    result["per_query"] = {}
    for what in ("compiled_flops", "model_flops", "slots", "images"):
        # FLOPs are reported per chip, sizes per row.
        whole = "devices" if what.endswith("flops") else "rows"
        shared, apart = (reports[side][what] * reports[side][whole] / asked for side in SIDES)
        result["per_query"][what] = {"shared": shared, "apart": apart, "ratio": apart / shared}
    return result


def shots_lines(result: dict[str, Any]) -> Iterator[str]:
    """The comparison as lines for a terminal."""
    shared, apart = (result[side] for side in SIDES)
    one = f"stage {shared['stage']}, {shared['size']}, {shared['step']} step on {shared['topology']}"
    yield f"{one}, queries of {result['shots']} shots"
    yield f"  shared: {shared['rows']} rows of {shared['slots']} slots, {result['queries']} queries in each"
    yield f"  apart:  {apart['rows']} rows of {apart['slots']} slots, one query in each"
    yield f"{'per query':<18}{'shared':>12}{'apart':>12}{'ratio':>8}"
    for what, row in result["per_query"].items():
        yield f"  {what.replace('_', ' '):<16}{row['shared']:>12.4g}{row['apart']:>12.4g}{row['ratio']:>8.2f}"
