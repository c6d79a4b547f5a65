"""Line charts and histograms as inline SVG: small, sharp at any size, and coloured by the page's style, so that they
follow light and dark. matplotlib draws them; what it says beyond the drawing is taken away.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import chain, repeat

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


_SHOT_COLOURS = ("c1", "c3", "c6", "c5", "c4", "c2")  # from the most references down


def shot_colours(shots: Sequence) -> dict:
    """{number of references: colour}, the same in all charts of a page. Shots rise."""
    return dict(zip(shots[::-1], chain(_SHOT_COLOURS, repeat("mute")), strict=False))


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
    with _drawn(x_label, x_range, y_range, size) as (axes, finished):
        if diagonal:
            axes.plot(x_range, y_range, color=COLOURS["mute"], lw=1, ls=(0, (1, 4)), clip_on=False)
        for line in lines:
            x, y = np.clip(line.x, *x_range), np.clip(line.y, *y_range)
            axes.plot(x, y, color=COLOURS[line.colour], clip_on=False, **_LOOKS[line.look])
        return finished(f"{y_label} over {x_label}")


@dataclass(frozen=True)
class Bars:
    """Values float[n] to count, their name and colour as those of a Line."""

    name: str
    values: np.ndarray
    colour: str
    note: str = ""


def histogram(
    parts: Sequence[Bars], *, x_label: str, size: tuple[int, int] = (320, 190), mark: float | None = None,
    bins: int = 36,
) -> Markup:  # fmt: skip
    """An `<svg>` of how often values occur: one filled outline per part over common bins, each as a share of its own
    part, so that few and many can be compared. `mark` draws a dotted line at a value. Values that are not finite are
    left out. The same values give the same text."""
    found = [part.values[np.isfinite(part.values)].astype(np.float64) for part in parts]
    everything = np.concatenate([*found, [] if mark is None else [mark]])
    low, high = (everything.min(), everything.max()) if everything.size else (0.0, 1.0)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) for values in found]
    top = max([float(share.max()) for share in shares] or [0.0]) * 1.05 or 1.0
    with _drawn(x_label, (low, high), (0.0, top), size, y_texts=False) as (axes, finished):
        for part, share in zip(parts, shares, strict=True):
            x, y = np.repeat(edges, 2), np.r_[0.0, np.repeat(share, 2), 0.0]
            axes.fill(x, y, color=COLOURS[part.colour], alpha=0.28, lw=0)
            axes.plot(x, y, color=COLOURS[part.colour], clip_on=False, **_LOOKS[""])
        if mark is not None:
            axes.plot([mark, mark], [0, top], color=COLOURS["mute"], clip_on=False, **_LOOKS["dots"])
        return finished(f"how often, over {x_label}: {', '.join(part.name for part in parts)}")


@contextmanager
def _drawn(x_label: str, x_range, y_range, size: tuple[int, int], y_texts: bool = True) -> Iterator[tuple]:
    """Axes over a light grid, and a function that takes the words for those who cannot see and gives the `<svg>`."""
    width, height = size
    left = _LEFT if y_texts else _RIGHT
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 11, "font.family": "sans-serif"}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)  # one point a unit
        inner = (width - left - _RIGHT) / width, (height - _TOP - _BOTTOM) / height
        axes = figure.add_axes((left / width, _BOTTOM / height, *inner), xlim=x_range, ylim=y_range)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        for side, spine in axes.spines.items():
            spine.set(visible=side == "bottom", color=COLOURS["mute"], linewidth=1)
        axes.grid(axis="y", color=_RULE, linewidth=1)
        axes.set_axisbelow(True)
        axes.tick_params(bottom=False, left=False, labelcolor=_SOFT, labelleft=y_texts, pad=5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(_tick_text))
        axes.set_xlabel(x_label.replace("$", r"\$"), color=_SOFT, labelpad=3)

        def finished(words: str) -> Markup:
            stream = io.StringIO()
            figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            drawing = _bare(stream.getvalue())
            return Markup(
                f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">{drawing}</svg>'
            )

        yield axes, finished


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
