"""Line charts as inline SVG: small, sharp at any size, and coloured by the page's style, so that they follow light and
dark. matplotlib draws them; what it says beyond the drawing is taken away.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Colours are drawn as codes that stand for the style sheet's variables, which know light and dark.
COLOURS = {name: f"#00000{number}" for number, name in enumerate(("c1", "c2", "c3", "c4", "c5", "c6", "mute"), 1)}
_RULE, _SOFT = "#000008", "#000009"
_VARIABLES = {code: f"var(--{name})" for name, code in COLOURS.items()} | {_RULE: "var(--rule)", _SOFT: "var(--soft)"}
_LOOKS = {"": {"lw": 1.7}, "strong": {"lw": 2.4}, "faint": {"lw": 1.0, "alpha": 0.22},
          "dash": {"lw": 1.7, "ls": (0, (6, 4))}, "dots": {"lw": 1.7, "ls": (0, (1.5, 4))}}  # fmt: skip
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 8, 8, 36  # pixels around the axes


@dataclass(frozen=True)
class Line:
    """One curve: x and y float[n], finite or not (a gap), its name in the legend ("" for none), its colour, one of
    COLOURS, and how it looks: "", "strong", "faint", "dash" or "dots"; note: what the legend says after the name."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str = "c1"
    look: str = ""
    note: str = ""


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    size: tuple[int, int] = (320, 210),
    diagonal: bool = False,
) -> Markup:
    """An `<svg>` of lines over a light grid, axes labelled, values beyond the ranges clipped. The same lines give the
    same text.

    Args:
      lines: the curves, drawn in order.
      x_label, y_label: what the axes show; y_label for those who cannot see it.
      x_range, y_range: the ends of the axes.
      size: width and height in units of about one pixel on a phone; the drawing scales with its container.
      diagonal: draws the line from corner to corner that guessing would follow.
    """
    width, height = size
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 11, "font.family": "sans-serif"}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)  # one point a unit
        inner = (width - _LEFT - _RIGHT) / width, (height - _TOP - _BOTTOM) / height
        axes = figure.add_axes((_LEFT / width, _BOTTOM / height, *inner), xlim=x_range, ylim=y_range)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        for side, spine in axes.spines.items():
            spine.set(visible=side == "bottom", color=COLOURS["mute"], linewidth=1)
        axes.grid(axis="y", color=_RULE, linewidth=1)
        axes.set_axisbelow(True)
        axes.tick_params(bottom=False, left=False, labelcolor=_SOFT, pad=5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(_tick_text))
        axes.set_xlabel(x_label.replace("$", r"\$"), color=_SOFT, labelpad=3)
        if diagonal:
            axes.plot(x_range, y_range, color=COLOURS["mute"], lw=1, ls=(0, (1, 4)), clip_on=False)
        for line in lines:
            x, y = np.clip(line.x, *x_range), np.clip(line.y, *y_range)
            axes.plot(x, y, color=COLOURS[line.colour], clip_on=False, **_LOOKS[line.look])
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    label = escape(f"{y_label} over {x_label}")
    drawing = _bare(stream.getvalue())
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{drawing}</svg>')


def _bare(svg: str) -> str:
    """What stands inside the `<svg>`, without names, clipping and fonts, which mean nothing inside a page or clash
    there; in the page's colours."""
    inside = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.DOTALL).group(1)
    inside = re.sub(r"<(defs|metadata)>.*?</\1>|<defs/>|<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r' (id|clip-path|transform)="[^"]*"|font[a-z-]*: [^;"]*;? ?', "", inside)  # no text is turned
    inside = re.sub(r"</?g>", "", inside)
    inside = re.sub(r"#00000[1-9]", lambda found: _VARIABLES[found[0]], inside)
    return re.sub(r"\s*\n\s*", " ", inside).strip()


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """float64[n]: centred mean over up to `window` finite neighbours, the window shrinking at both ends."""
    half = window // 2
    padded = np.r_[0.0, np.cumsum(np.where(np.isfinite(values), values, 0.0))]
    counts = np.r_[0, np.cumsum(np.isfinite(values))]
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    count = counts[stop] - counts[start]
    return np.where(count > 0, (padded[stop] - padded[start]) / np.maximum(count, 1), np.nan)


def _tick_text(value: float, _position: int) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
