"""The tables of docs/tpu.md: which steps are compiled for which slices, and the page's rows from their reports.

Every case is compiled in a process of its own, because a compiler keeps its memory, and its report is kept as JSON, so
that an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iadgpt_jax.errors import InputError

TOPOLOGIES = ("v5e:4x4", "v5e:8x8", "v5p:2x2x4", "v6e:8x8")
START, END = "<!-- compiled ahead of time: launch/compile.py --table -->", "<!-- end -->"


class Case(NamedTuple):
    """One step for one slice, or several."""

    stage: int
    size: str
    topology: str
    slices: int = 1
    score: bool = False

    @property
    def name(self) -> str:
        slices = f"{self.slices}x" if self.slices > 1 else ""
        step = "score" if self.score else f"stage{self.stage}"
        return f"{step}-{self.size}-{slices}{self.topology.replace(':', '-')}"

    @property
    def flags(self) -> list[str]:
        return [
            f"--config=configs/stage{self.stage}.py:{self.size}", f"--topology={self.topology}",
            f"--num_slices={self.slices}", *(["--score"] if self.score else []),
        ]  # fmt: skip


def cases() -> list[Case]:
    """Stages × sizes × slices, scoring, several slices, and the newest chip."""
    grid = [Case(stage, size, at) for size in ("7b", "3b") for stage in (3, 2, 1) for at in TOPOLOGIES]
    more = [Case(3, "7b", "v5p:2x2x4", 2), Case(3, "7b", "tpu7x:2x2x2")]
    return grid + more + [Case(3, "7b", at, score=True) for at in ("v5e:2x4", "v5p:2x2x4")]


def write_table(script: Path, reports: Path, docs: Path) -> None:
    """Compile the cases that have no report in `reports` yet; after each, write the rows of all reports into the page.

    Raises:
      InputError: the page has no marks, or compiling a case left no report.
    """
    write_page(reports, docs)
    reports.mkdir(parents=True, exist_ok=True)
    todo = [case for case in cases() if not (reports / f"{case.name}.json").exists()]
    for number, case in enumerate(todo, start=1):
        print(f"{number}/{len(todo)} {case.name}", file=sys.stderr)
        out = reports / f"{case.name}.json"
        command = [sys.executable, str(script), *case.flags, f"--out={out}"]
        status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if not out.exists():
            raise InputError(
                f"{' '.join(command[1:])} ended with status {status} and left no report: run it alone to see why"
            )
        write_page(reports, docs)


def write_page(reports: Path, docs: Path) -> None:
    """Write the rows of the existing reports between the page's marks.

    Raises:
      InputError: the page has no marks.
    """
    page = docs.read_text() if docs.exists() else ""
    if START not in page or END not in page:
        raise InputError(f"{docs} has no place for the tables: put the lines {START} and {END} into it")
    files = [reports / f"{case.name}.json" for case in cases()]
    found = [json.loads(file.read_text()) for file in files if file.exists()]
    before, rest = page.split(START)
    after = rest.split(END)[1]
    docs.write_text("\n".join([f"{before}{START}", *table_lines(found), f"{END}{after}"]))


def table_lines(reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown rows, one per report, in order."""
    head = ("step", "size", "slice", "mesh (d × f × t)", "rows", "remat", "HBM GiB", "free", "TFLOPs", "ratio",
            "sent GiB", "hidden", "bound s", "by", "MFU ≤", "exposed", "compiled s")  # fmt: skip
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for r in reports:
        yield f"| {' | '.join(_cells(r))} |"


def _cells(r: dict[str, Any]) -> list[str]:
    slices = f"{r['num_slices']} × " if r["num_slices"] > 1 else ""
    step = "score" if r["step"] == "score" else f"stage {r['stage']}"
    free = 1 - r["hbm_peak_bytes"] / r["hbm_capacity_bytes"]
    cells = [
        step, r["size"], f"{slices}{r['topology']}", " × ".join(str(n) for n in r["mesh"].values()), str(r["rows"]),
        r["remat"], f"{r['hbm_peak_bytes'] / 2**30:.1f}", f"{free:.0%}" if r["fits"] else "**does not fit**",
    ]  # fmt: skip
    if "roofline" not in r:
        return cells + ["–"] * 8 + [f"{r['compile_seconds']:.0f}"]
    t = r["roofline"]
    sent = sum(row["wire_bytes"] for row in r["collectives"].values()) / 2**30
    return cells + [
        f"{r['compiled_flops'] / 1e12:.0f}", f"{r['flops_ratio']:.2f}", f"{sent:.1f}", f"{r['hidden_share']:.0%}",
        f"{t['step_seconds']:.2f}", t["limit"], f"{t['mfu']:.0%}", f"{t['exposed_mfu']:.0%}",
        f"{r['compile_seconds']:.0f}",
    ]  # fmt: skip
