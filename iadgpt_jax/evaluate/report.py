"""One self-contained HTML page that shows a run: headline table, curves, gallery, categories and how it was made.

Everything is inside the file (pictures as data, charts as SVG); it loads nothing, runs no script, and follows the
reader's light or dark theme. Here is what it says; layout and style are in `report.html.jinja` beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from iadgpt_jax.evaluate.charts import Line, line_chart, moving_average
from iadgpt_jax.evaluate.gallery import SHOWN, GalleryItem, cards, picture
from iadgpt_jax.evaluate.metrics import image_metrics, roc_curve
from iadgpt_jax.evaluate.page import environment, mean_or_nan
from iadgpt_jax.evaluate.report_answers import answer_table, asked_table, kind_table
from iadgpt_jax.evaluate.strips import METRICS, category_strips
from iadgpt_jax.evaluate.table import CONTROLS, SummaryRow, by_shots, mean_over_shots, references, summary_rows
from iadgpt_jax.whole_file import write_whole

MAX_BYTES = 6_000_000  # a page that still travels by mail and opens on a phone
_PICTURES = ((224, 86), (168, 80), (112, 72), (80, 60))  # longer side and JPEG quality, from best to smallest
_LOSSES = ("loss", "answer", "focal", "binary_focal", "dice")  # of all that a training log holds


def write_report(
    path: str | Path,
    *,
    title: str,
    results: Mapping,
    summary_rows: Sequence[SummaryRow] | None = None,
    curves: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    roc: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    gallery: Sequence[GalleryItem] = (),
    sheet: np.ndarray | None = None,
    facts: Mapping[str, str] | None = None,
    lede: str = "",
    sheet_caption: str = "",
) -> None:
    """Writes the report; the file appears complete or not at all. Sections without data are left out.

    Args:
      path: the .html file to write.
      title: heading of the page.
      results: as results.json (or metrics.json) holds them: `held_out`, `controls`, `answers`, `wall_seconds`.
      summary_rows: rows of the headline table; by default those of `results`.
      curves: per stage, {"step": […], "loss": […], and the loss's parts by name}.
      roc: per setting ("4-shot", "untrained", …), margins float[n] and labels bool[n] over all categories.
      gallery: inspections to show.
      sheet: uint8[H, W, 3], a picture sheet of the products.
      facts: how it was run, name to value (command, seed, machine, versions …).
      lede: a sentence or two beneath the title.
      sheet_caption: what the sheet shows.

    Raises:
      ValueError: the page exceeds MAX_BYTES even with the smallest pictures; show fewer.
    """
    path = Path(path)
    rows = list(summary_rows) if summary_rows is not None else _default_rows(results)
    content: dict[str, Any] = {
        "title": title,
        "lede": lede,
        "stats": _stats(results),
        "headline": _headline(rows),
        "answers": answer_table(results.get("answers") or {}),
        "asked": asked_table((results.get("answers") or {}).get("asked") or {}),
        "kinds": kind_table((results.get("answers") or {}).get("kinds") or {}),
        "stages": _loss_curves(curves or {}),
        "roc": _roc(roc or {}),
        "categories": category_strips(_measured(results)),
        "sheet_caption": sheet_caption,
        "facts": facts or {},
        "open_cards": SHOWN,
    }
    template = environment().get_template("report.html.jinja")
    for side, quality in _PICTURES:
        content["gallery"] = cards(gallery, side, quality)
        content["sheet"] = None
        if sheet is not None:
            alt = sheet_caption or "picture sheet of the products"
            content["sheet"] = picture(sheet, alt, side=6 * side, quality=quality)
        page = template.render(content)
        if (size := len(page.encode("utf-8", errors="replace"))) <= MAX_BYTES:
            break
    else:
        raise ValueError(f"{path}: the report takes {size} bytes, over {MAX_BYTES}; show fewer gallery items.")
    write_whole(path, page)


def _default_rows(results: Mapping) -> list[SummaryRow]:
    return summary_rows(results) if "held_out" in results or "shots" in results else []


def _measured(results: Mapping) -> Mapping:
    return results.get("held_out") or results.get("shots") or {}


def _stats(results: Mapping) -> list[tuple[str, str]]:
    """The few numbers to remember: (number, what it is)."""
    stats = []
    measured = _measured(results)
    if measured:
        most = by_shots(measured)[-1]
        for metric, name in METRICS.items():
            value = mean_or_nan(measured[most].get(metric))
            if math.isfinite(value):
                stats.append((f"{value:.3f}", f"{name} with {references(most)}"))
        wrong = (results.get("controls") or {}).get("wrong_reference") or {}
        same = {int(k): metrics for k, metrics in wrong.items()}.get(int(most), {})
        drop = mean_or_nan(measured[most].get("image_auroc")) - mean_or_nan(same.get("image_auroc"))
        if math.isfinite(drop):
            stats.append((f"{-drop:+.3f}".replace("-", "−"), "image AUROC when the references show a wrong product"))
    if results.get("wall_seconds"):
        minutes, seconds = divmod(round(results["wall_seconds"]), 60)
        stats.append((f"{minutes}:{seconds:02d}", "minutes, all told"))
    return stats


def _headline(rows: Sequence[SummaryRow]) -> list[dict]:
    """A table for image and one for pixel: settings down, numbers of references across, their mean at the end."""
    settings = {row.setting: row.control for row in rows}
    shots = sorted({row.shots for row in rows})
    tables = []
    for metric, name in METRICS.items():
        values = {(row.setting, row.shots): getattr(row, metric) for row in rows}
        if all(value is None for value in values.values()):
            continue
        several = len(shots) > 1
        lines = [
            {
                "setting": setting,
                "control": control,
                "values": [values.get((setting, k)) for k in shots]
                + [mean_over_shots(rows, setting, metric)] * several,
            }
            for setting, control in settings.items()
        ]
        tables.append({"name": name, "heads": [f"{k}-shot" for k in shots] + ["mean"] * several, "rows": lines})
    return tables


def _loss_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict]:
    """A chart per stage: the loss and its parts, smoothed, over the loss as it was."""
    panels = []
    for stage, log in curves.items():
        names = [name for name in _LOSSES if name in log]
        if "step" not in log or not names:
            continue
        steps = np.asarray(log["step"], np.float64)
        raw = {name: np.asarray(log[name], np.float64) for name in names}
        # A part that is all of the loss would only hide it.
        names = [name for name in raw if name == "loss" or "loss" not in raw or not np.allclose(raw[name], raw["loss"])]
        hues = iter(("c2", "c3", "c4", "c5", "c6") * (1 + len(names) // 5))
        lines = []
        for name in names:
            y = moving_average(raw[name], max(1, len(steps) // 40))
            finite = y[np.isfinite(y)]
            look = ("c1", "strong") if name == "loss" else (next(hues), "")
            lines.append(Line(name, steps, y, *look, note=f"{finite[-1]:.2f}" if finite.size else ""))
        finite = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
        if not finite.size:
            continue
        faint = [Line("", steps, raw["loss"], "c1", "faint")] if "loss" in raw else []
        chart = line_chart(
            [*faint, *lines[::-1]],  # the total is drawn last, over its parts
            x_label="step",
            y_label="loss",
            x_range=(0.0, float(max(steps.max(), 1))),
            y_range=(min(0.0, float(finite.min())), float(finite.max()) * 1.04 or 1.0),
        )
        panels.append({"name": _stage_name(stage), "chart": chart, "lines": lines})
    return panels


def _stage_name(stage: str) -> str:
    return stage.replace("_", " ").replace("stage", "Stage ").replace("  ", " ").strip()


def _roc(roc: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict | None:
    """The curves of all settings in one chart, controls in grey."""
    if not roc:
        return None
    lines = []
    hues = chain(("c6", "c3", "c1"), *repeat(("c2", "c4", "c5"), len(roc)))
    greys = chain(*repeat(("", "dash", "dots"), len(roc)))
    for name, (scores, labels) in roc.items():
        control = any(word in name.lower() for word in ("untrained", "wrong", "no ref", "no_ref", "without"))
        look = ("mute", next(greys)) if control else (next(hues), "")
        area = image_metrics(scores, labels)["image_auroc"]
        shown = CONTROLS.get(name, name.replace("_", " "))
        lines.append(Line(shown, *roc_curve(scores, labels), *look, note=f"{area:.3f}"))
    chart = line_chart(
        lines,
        x_label="good products called defective",
        y_label="defective products found",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        size=(360, 340),
        diagonal=True,
    )
    return {"chart": chart, "lines": lines}
