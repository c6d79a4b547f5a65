"""Draw the pictures of docs/design.md: the road of the data, the model, and the layers of the package.

    python tools/draw_design.py --out=docs

Writes OUT/road.svg, OUT/model.svg and OUT/layers.svg. --format=png writes PNGs instead, for a quick look.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from iadgpt_jax.errors import InputError, Parser, clear_errors

ROOT = Path(__file__).resolve().parents[1]

# Text stays text, so that the files are small and their diffs readable; the salt makes element names repeatable.
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "iadgpt_jax",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
    }
)

INK, FAINT, PAPER = "#222831", "#6b7480", "#ffffff"
BLUE, GREEN, AMBER, ROSE, GREY = "#dbe8f7", "#dff1e1", "#fdf0d2", "#fbe0e3", "#eceff3"

# (name, what leaves it, where it lives, colour)
ROAD = (
    ("source", "Sample", "data/sources/", GREEN),
    ("task", "Instance", "data/tasks/", GREEN),
    ("encode", "Encoded", "data/encode.py", GREEN),
    ("pack", "rows", "data/pack.py", GREEN),
    ("batch", "jax.Arrays", "data/loader.py", GREEN),
    ("model", "", "models/", BLUE),
)
# What a layer holds, by its first name in the layer contract of pyproject.toml, and its colour.
HOLDS = {
    "launch": ("one flat script for each command  ·  offline jobs", GREY),
    "__main__": ("the door to launch/ and tools/: iadgpt VERB", GREY),
    "serve": ("HTTP: products, inspections in batches, chats", GREY),
    "evaluate": ("protocol, metrics, report, parity  ·  making described photographs  ·  ablations", AMBER),
    "infer": ("score, generate, Inspector  ·  losses, optimizer, step", ROSE),
    "checkpoint": ("what is on disk; finding and loading it", AMBER),
    "convert": ("Hugging Face names and files, both ways", AMBER),
    "data": ("sources, tasks, encode, pack, loader  ·  cost of a compiled program", GREEN),
    "alone": ("one process at a time in a folder  ·  full disks  ·  checksums of files", GREY),
    "flops": ("the published FLOP formula", GREY),
    "models": ("backbone, IADGPT, attention kernels  ·  the made-up factory  ·  paid answers", BLUE),
    "sharding": ("the mesh and its rules, and how processes start", GREY),
    "journal": ("files that are appended to, libraries not everybody has", GREY),
    "bucket_files": ("files in gs://", GREY),
    "errors": ("used by all", GREY),
    "buckets": ("which paths are no folders  ·  what commands say beside results", GREY),
}


class Sheet:
    """A drawing area `width` by `height` inches, in whose coordinates everything is given; y grows upwards."""

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(width, height), facecolor=PAPER)
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, x: float, y: float, width: float, height: float, text: str, colour: str, size: float = 10) -> None:
        """A box with its lower left corner at (x, y)."""
        style = "round,pad=0,rounding_size=0.07"
        patch = FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor=INK, linewidth=0.9)
        self.axes.add_patch(patch)
        self.text(x + width / 2, y + height / 2, text, size)

    def text(self, x: float, y: float, text: str, size: float = 8.5, colour: str = INK, align: str = "center") -> None:
        self.axes.text(x, y, text, fontsize=size, color=colour, ha=align, va="center", linespacing=1.35)

    def line(self, *points: tuple[float, float]) -> None:
        """Through the points, without a head."""
        self.axes.plot(*zip(*points, strict=True), color=INK, linewidth=1.0, solid_joinstyle="round")

    def arrow(self, start: tuple[float, float], end: tuple[float, float], bend: str = "arc3") -> None:
        """bend: matplotlib's connection style."""
        how = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0, "connectionstyle": bend}
        self.axes.annotate("", xy=end, xytext=start, arrowprops=how)


def road() -> Figure:
    """From photograph to loss, and from photograph to report."""
    sheet = Sheet(12.6, 2.75)
    width, gap, y, height = 0.98, 0.74, 1.55, 0.5
    x = 0.25
    for name, leaves, where, colour in ROAD:
        sheet.box(x, y, width, height, name, colour, 11)
        sheet.text(x + width / 2, y - 0.2, where, 7.8, FAINT)
        if leaves:
            sheet.arrow((x + width, y + height / 2), (x + width + gap, y + height / 2))
            sheet.text(x + width + gap / 2, y + height / 2 + 0.16, leaves, 7.8, FAINT)
        x += width + gap
    middle = y + height / 2
    x -= gap
    upper, lower = 2.0, 0.62
    sheet.arrow((x, middle + 0.1), (x + 0.55, upper + height / 2), "angle3,angleA=0,angleB=60")
    sheet.box(x + 0.55, upper, 0.8, height, "loss", ROSE, 11)
    sheet.text(x + 0.95, upper - 0.18, "train/", 7.8, FAINT)
    sheet.arrow((x, middle - 0.1), (x + 0.55, lower + height / 2), "angle3,angleA=0,angleB=-60")
    for number, (name, where) in enumerate((("score", "infer/"), ("metrics,\nreport", "evaluate/"))):
        left = x + 0.55 + number * 1.05
        sheet.box(left, lower, 0.8, height, name, AMBER, 10 - 1.5 * number)
        sheet.text(left + 0.4, lower - 0.18, where, 7.8, FAINT)
    sheet.arrow((x + 1.35, lower + height / 2), (x + 1.6, lower + height / 2))
    start, end = 0.25, 0.25 + 5 * width + 4 * gap
    for left, right, words in (
        (start, end, "on the host, in numpy and Grain: everything whose size depends on the data"),
        (end + gap, end + gap + width, "on the devices:\nstatic shapes"),
    ):
        sheet.axes.plot((left, right), (0.98, 0.98), color=FAINT, linewidth=0.8)
        sheet.text((left + right) / 2, 0.78 if "\n" not in words else 0.74, words, 8.2, FAINT)
    return sheet.figure


def model() -> Figure:
    """Both towers in four groups, a tap at the end of each."""
    sheet = Sheet(12.6, 4.3)
    sheet.text(0.75, 3.2, "references\nand query,\nuint8 patches", 9)
    sheet.arrow((1.35, 3.2), (1.7, 3.2))
    width, gap, y, height = 1.12, 0.3, 2.8, 0.8
    for group in range(4):
        x = 1.7 + group * (width + gap)
        sheet.box(x, y, width, height, f"7 window +\n1 full attention\nblock {8 * (group + 1)}", BLUE, 8)
        if group < 3:
            sheet.arrow((x + width, y + height / 2), (x + width + gap, y + height / 2))
            sheet.line((x + width - 0.2, y + height), (x + width - 0.2, 3.85))
    sheet.line((1.7 + width - 0.2, 3.85), (7.5, 3.85))
    sheet.arrow((7.4, 3.85), (7.55, 3.85))
    sheet.text(1.7 + 2 * (width + gap) - gap / 2, 2.55, "ViT, four groups (the 7B: 32 blocks)", 8.5, FAINT)
    x = 1.7 + 4 * (width + gap) - gap
    sheet.arrow((x, 3.2), (7.55, 3.2))
    sheet.box(7.55, 2.8, 1.05, 1.25, "fusion\n\nh32 + Σ gate ·\nRMS(h8, 16, 24)", ROSE, 8)
    sheet.arrow((8.6, 3.2), (8.9, 3.2))
    sheet.box(8.9, 2.8, 0.9, 0.8, "merger\n2 × 2 → 1", BLUE, 8)
    sheet.arrow((9.8, 3.2), (10.1, 3.2))
    sheet.box(10.1, 2.8, 1.5, 0.8, "compression\nof references 2, 3, 4:\nkeep r · N", ROSE, 8)
    sheet.line((11.6, 3.2), (12.1, 3.2), (12.1, 2.2), (0.75, 2.2), (0.75, 1.85))
    sheet.arrow((0.75, 1.9), (0.75, 1.68))
    sheet.text(0.75, 1.3, "image tokens\nbetween the\nprompt's words", 9)
    sheet.arrow((1.35, 1.3), (1.7, 1.3))
    y = 0.9
    for group in range(4):
        x = 1.7 + group * (width + gap)
        sheet.box(x, y, width, height, f"7 layers\nlayer {7 * (group + 1)}", GREEN, 8)
        sheet.arrow((x + width, y + height / 2), (x + width + gap, y + height / 2))
        sheet.line((x + width - 0.2, y), (x + width - 0.2, 0.35))
    sheet.line((1.7 + width - 0.2, 0.35), (7.2, 0.35))
    sheet.arrow((7.1, 0.35), (7.3, 0.35))
    sheet.text(1.7 + 2 * (width + gap) - gap / 2, 1.88, "decoder, four groups (the 7B: 28 layers)", 8.5, FAINT)
    sheet.box(7.3, 0.1, 1.9, 0.5, "attention of the keyword\nrows to the query's tokens", ROSE, 8)
    sheet.arrow((9.2, 0.35), (9.6, 0.35))
    sheet.box(9.6, 0.1, 2.65, 0.5, "pixel map: mean over heads,\nsub-tokens, words, four layers", AMBER, 8)
    x = 1.7 + 4 * (width + gap)
    sheet.box(x, 0.95, 1.82, 0.7, "logits where an\nanswer stands", BLUE, 8)
    sheet.arrow((x + 1.82, 1.45), (9.6, 1.55))
    sheet.arrow((x + 1.82, 1.15), (9.6, 0.98))
    sheet.box(9.6, 1.34, 2.65, 0.45, 'score: p("No") against p("Yes")', AMBER, 8)
    sheet.box(9.6, 0.77, 2.65, 0.42, "answer in words", AMBER, 8)
    sheet.text(0.2, 4.12, "rose: what IADGPT adds to Qwen2.5-VL", 8.5, FAINT, "left")
    return sheet.figure


def layers() -> Figure:
    """Who may import whom: the layer contract of pyproject.toml, the scripts above it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(contract for contract in contracts if contract.get("containers") == ["iadgpt_jax"])
    rows = [["launch", "tools"], *(layer.split(" | ") for layer in contract["layers"])]
    step, left, wide, gap = 0.5, 0.6, 4.6, 0.1
    sheet = Sheet(10.4, step * len(rows) + 0.25)
    for number, names in enumerate(reversed(rows)):
        y = 0.15 + number * step
        words, colour = HOLDS[names[0]]
        each = (wide - gap * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            sheet.box(left + place * (each + gap), y, each, 0.38, name, colour, 9.5 if len(names) < 4 else 8)
        sheet.text(left + wide + 0.2, y + 0.19, words, 9, FAINT, "left")
    sheet.arrow((0.3, step * len(rows) + 0.1), (0.3, 0.15))
    sheet.axes.text(
        0.16, step * len(rows) / 2 + 0.1, "may import", fontsize=9, color=FAINT, rotation=90, va="center", ha="center"
    )
    return sheet.figure


@clear_errors()
def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write to")
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    flags = parser.parse_args()
    try:
        flags.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {flags.out}: {error.strerror}; choose another --out") from error
    for draw in (road, model, layers):
        file = flags.out / f"{draw.__name__}.{flags.format}"
        draw().savefig(file, dpi=110, metadata={"Date": None} if flags.format == "svg" else None)
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
