"""Charts as inline SVG: small, sharp at any size, and coloured by the page's style, so that they follow light and dark.

Lines carry the classes c1 … c6 (hues of the style sheet) or "mute", and "dash" or "faint" where asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

MAX_POINTS = 320  # per line: more than a chart has room for


@dataclass(frozen=True)
class Line:
    """One curve: x and y float[n], finite or not (a gap), its name in the legend ("" for none) and its classes."""

    name: str
    x: np.ndarray
    y: np.ndarray
    style: str = "c1"


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    size: tuple[int, int] = (320, 210),
    diagonal: bool = False,
) -> str:
    """An `<svg>` of lines over a light grid, axes labelled, values beyond the ranges clipped.

    Args:
      lines: the curves, drawn in order.
      x_label, y_label: what the axes show.
      x_range, y_range: the ends of the axes.
      size: width and height in units of about one pixel on a phone; the drawing scales with its container.
      diagonal: draws the line from corner to corner that guessing would follow.
    """
    width, height = size
    left, right, top, bottom = 36, 8, 8, 36
    inner_width, inner_height = width - left - right, height - top - bottom

    def at_x(value):
        return left + (value - x_range[0]) / (x_range[1] - x_range[0]) * inner_width

    def at_y(value):
        return top + inner_height - (value - y_range[0]) / (y_range[1] - y_range[0]) * inner_height

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(y_label)} over {escape(x_label)}">']
    for tick in nice_ticks(*y_range):
        y = at_y(tick)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{width - right}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_tick_text(tick)}</text>')
    for tick in nice_ticks(*x_range):
        x = at_x(tick)
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 15}" text-anchor="middle">{_tick_text(tick)}</text>')
    parts.append(f'<path class="axis" d="M{left} {height - bottom}H{width - right}"/>')
    parts.append(
        f'<text class="name" x="{left + inner_width / 2:.0f}" y="{height - 3}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    if diagonal:
        parts.append(f'<path class="guess" d="M{left} {height - bottom}L{width - right} {top}"/>')
    for line in lines:
        x, y = thin_out(line.x, line.y)
        path = _path(at_x(np.clip(x, *x_range)), at_y(np.clip(y, *y_range)))
        parts.append(f'<path class="line {escape(line.style)}" d="{path}"/>')
    return "".join(parts) + "</svg>"


def legend(lines: Sequence[Line], notes: Sequence[str] = (), *, dots: bool = False) -> str:
    """The names of the lines, each after a stroke (or a dot) in its style, and a note after each where there is one."""
    entries = []
    for number, line in enumerate(lines):
        if not line.name:
            continue
        note = f" <b>{escape(notes[number])}</b>" if number < len(notes) and notes[number] else ""
        style = escape(line.style)
        if dots:
            mark = f'<svg class="key small" viewBox="0 0 10 10"><circle class="dot {style}" cx="5" cy="5" r="5"/></svg>'
        else:
            mark = f'<svg class="key" viewBox="0 0 22 8"><path class="line {style}" d="M1 4H21"/></svg>'
        entries.append(f"<li>{mark}<span>{escape(line.name)}{note}</span></li>")
    return f'<ul class="legend">{"".join(entries)}</ul>'


STRIP_LOW, STRIP_HIGH = 0.4, 1.0  # the range of AUROC a strip shows; guessing, .5, lies inside


def strip(values: Sequence[tuple[str, float]]) -> str:
    """A row of a dot plot: (class, value) pairs as dots on one line; values beyond its range stand at its ends.

    Places are percentages, so that dots keep their size however narrow the column.
    """
    marks = [(mark, "guess" if mark == 0.5 else "grid") for mark in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    parts = ['<svg class="strip" height="18" aria-hidden="true">']
    parts += [f'<line class="{kind}" x1="{_at(mark)}" x2="{_at(mark)}" y1="-9" y2="27"/>' for mark, kind in marks]
    shown = [(style, value) for style, value in values if math.isfinite(value)]
    if shown:
        low, high = min(value for _, value in shown), max(value for _, value in shown)
        parts.append(f'<line class="span" x1="{_at(low)}" x2="{_at(high)}" y1="9" y2="9"/>')
    parts += [f'<circle class="dot {escape(style)}" cx="{_at(value)}" cy="9" r="5"/>' for style, value in shown]
    return "".join(parts) + "</svg>"


def strip_axis() -> str:
    """The numbers over a column of strips."""
    marks = (0.5, 0.7, 0.9, 1.0)
    texts = "".join(f'<text x="{_at(mark)}" y="12" text-anchor="middle">{mark:.1f}</text>' for mark in marks)
    return f'<svg class="strip" height="16">{texts}</svg>'


def _at(value: float) -> str:
    share = (min(max(value, STRIP_LOW), STRIP_HIGH) - STRIP_LOW) / (STRIP_HIGH - STRIP_LOW)
    return f"{4 + 92 * share:.1f}%"


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) from low to high, about as many as asked."""
    rough = (high - low) / max(about - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """float64[n]: centred mean over up to `window` finite neighbours, the window shrinking at both ends."""
    half = window // 2
    padded = np.r_[0.0, np.cumsum(np.where(np.isfinite(values), values, 0.0))]
    counts = np.r_[0, np.cumsum(np.isfinite(values))]
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    count = counts[stop] - counts[start]
    return np.where(count > 0, (padded[stop] - padded[start]) / np.maximum(count, 1), np.nan)


def thin_out(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS of the points, evenly chosen, the first and the last among them."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) <= MAX_POINTS:
        return x, y
    keep = np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int)
    return x[keep], y[keep]


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """SVG path data through the points; a point that is not finite leaves a gap."""
    commands, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            commands.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(commands)


def _tick_text(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
