"""What the kills of tools/chaos.py have shown, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

MOMENTS = ("while starting", "between saves", "during a save")


def results(entries: Sequence[dict]) -> dict:
    """Counts by number of processes, and whether every training ended as an undisturbed one. entries: the journal's."""
    rows = []
    for processes in sorted({entry["processes"] for entry in entries}):
        own = [entry for entry in entries if entry["processes"] == processes]
        kills, ends = ([one for one in own if one["what"] == what] for what in ("kill", "end"))
        rows.append(
            {"processes": processes, "kills": len(kills), "signals": Counter(one["signal"] for one in kills),
             "moments": Counter(one["moment"] for one in kills), "whom": Counter(one["whom"] for one in kills),
             "most_lost": max((one["lost"] for one in kills), default=0), "trainings": len(ends),
             "equal": sum(not one["differs"] for one in ends), "damaged": sum(one["damaged"] for one in ends)}
        )  # fmt: skip
    equal = bool(rows) and all(row["equal"] == row["trainings"] > 0 and not row["damaged"] for row in rows)
    return {"equal": equal, "rows": rows}


def table(found: dict) -> str:
    """In Markdown."""
    head = ("processes", "kills", "kill -9", "SIGTERM", *MOMENTS, "steps lost at most", "damaged steps",
            "trainings that ended like an undisturbed one")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        cells = (row["processes"], row["kills"], *(row["signals"].get(name, 0) for name in ("SIGKILL", "SIGTERM")),
                 *(row["moments"].get(name, 0) for name in MOMENTS), row["most_lost"], row["damaged"],
                 f"{row['equal']} of {row['trainings']}")  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)
