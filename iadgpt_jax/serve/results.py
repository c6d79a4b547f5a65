"""What the app shows and hands out of inspected parts: pictures with an opacity, a histogram, a table, CSV and ZIP."""

from __future__ import annotations

import html
import io
import zipfile

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from iadgpt_jax.evaluate.heatmap import overlay
from iadgpt_jax.evaluate.table_files import Table, to_csv
from iadgpt_jax.infer.margin import probability
from iadgpt_jax.serve.bench import Bench, Judged
from iadgpt_jax.serve.photographs import at_most
from iadgpt_jax.serve.pictures import map_png, overlay_png

HEADS = ("file", "verdict", "score", "margin", "explanation")
ORDERS = ("most defective first", "least defective first", "by name")
THUMBNAIL = 320  # pixels of a gallery picture's longer side


def ordered(bench: Bench, order: str) -> list[int]:
    """Places in bench.judged, as the gallery shows them."""
    places = range(len(bench.judged))
    if order == ORDERS[2]:
        return sorted(places, key=lambda at: bench.judged[at].photograph.name)
    return sorted(places, key=lambda at: bench.judged[at].found.margin, reverse=order == ORDERS[0])


def mixed(bench: Bench, judged: Judged, opacity: float) -> np.ndarray:
    """The photograph uint8[H, W, 3] with so much of its overlay, 0 to 1. All parts share one scale of colours."""
    product = bench.ready.product
    shown = judged.photograph.shown
    over = overlay(shown, judged.found.map, *product.scale([one.found.map for one in bench.judged]))
    return (shown * (1 - opacity) + over * opacity).round().astype(np.uint8)


def gallery(bench: Bench, order: str) -> list[tuple[np.ndarray, str]]:
    """Small overlays and what stands below them."""
    told = []
    for at in ordered(bench, order):
        judged = bench.judged[at]
        caption = f"{_verdict(bench, judged)} {judged.found.score:.2f} · {judged.photograph.name}"
        told.append((at_most(mixed(bench, judged, 1.0), THUMBNAIL), caption))
    return told


def verdict_html(bench: Bench, judged: Judged) -> str:
    """Verdict and score, as a heading; the name is anybody's and is escaped."""
    kind, word = ("bad", "Defective") if bench.rejects(judged) else ("good", "Good")
    threshold = bench.ready.product.threshold
    return (
        f'<div role="status" class="verdict {kind}"><strong>{word}</strong> '
        f"score {judged.found.score:.3f}, rejected above {threshold.score:.3f} · "
        f"{html.escape(judged.photograph.name)}</div>"
    )


def rows(bench: Bench, order: str) -> list[list]:
    """Of the table, as the gallery is ordered."""
    return [
        [
            one.photograph.name,
            _verdict(bench, one),
            round(one.found.score, 4),
            round(one.found.margin, 4),
            one.explanation,
        ]
        for one in (bench.judged[at] for at in ordered(bench, order))
    ]


def csv_text(bench: Bench) -> str:
    """The table as CSV, cells that a spreadsheet would compute made text."""
    cells = [
        [one.photograph.name, _verdict(bench, one), one.found.score, one.found.margin, one.explanation]
        for one in bench.judged
    ]
    return to_csv(Table("inspections", "", HEADS, cells))


def zip_bytes(bench: Bench) -> bytes:
    """Overlays, 16-bit maps and the table of all parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("inspections.csv", csv_text(bench))
        for number, one in enumerate(bench.judged, 1):
            stem = f"{number:03d}_" + "".join(c if c.isalnum() or c in "._-" else "_" for c in one.photograph.name)[:80]
            archive.writestr(f"{stem}_overlay.png", overlay_png(bench.ready.product, one.photograph, one.found))
            archive.writestr(f"{stem}_map.png", map_png(bench.ready.product, one.photograph, one.found))
    return buffer.getvalue()


def histogram(bench: Bench) -> np.ndarray:
    """uint8[H, W, 3]: how many parts have which score, beside the good parts measured and the threshold."""
    figure = Figure(figsize=(6, 2.4), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bins = np.linspace(0, 1, 21)
    threshold = bench.ready.product.threshold
    good = [probability(margin) for margin in threshold.good]
    if good:
        axes.hist(good, bins, color="#4a8f5c", alpha=0.6, label="good parts measured")
    axes.hist([one.found.score for one in bench.judged], bins, color="#c05a2b", alpha=0.7, label="parts inspected")
    axes.axvline(threshold.score, color="#222831", linestyle="--", label="rejected above")
    axes.set(xlabel="score", ylabel="parts", xlim=(0, 1))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _verdict(bench: Bench, judged: Judged) -> str:
    return "defective" if bench.rejects(judged) else "good"
