"""One self-contained HTML page that shows a run: headline table, curves, gallery, categories and how it was made.

Everything is inside the file (pictures as data, charts as SVG); it loads nothing, runs no script, and follows the
reader's light or dark theme. The layout and the style are in `report.html` beside this file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from iadgpt_jax.evaluate.charts import Line, legend, line_chart, moving_average, strip, strip_axis
from iadgpt_jax.evaluate.gallery import GalleryItem, gallery_html, picture_html
from iadgpt_jax.evaluate.metrics import image_metrics, roc_curve
from iadgpt_jax.evaluate.table import CONTROLS, SummaryRow, by_shots, mean_of, mean_over_shots, references, summary_rows

MAX_BYTES = 6_000_000  # a page that still travels by mail and opens on a phone
_PICTURES = ((224, 86), (168, 80), (112, 72), (80, 60))  # longer side and JPEG quality, from best to smallest
_LOSSES = ("loss", "answer", "focal", "binary_focal", "dice")  # of all that a training log holds
_ANSWERS = {
    "verdict": "says rightly whether the product is good",
    "kind": "names the kind of defect",
    "place": "names the place, one of nine",
    "place_within_one": "that place or the one next to it",
    "parsed": "can be read",
}


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
      roc: per setting ("4-shot", "untrained", …), scores float[n] and labels bool[n] over all categories.
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
    parts = {
        "title": escape(title),
        "lede": f'<p class="lede">{escape(lede)}</p>' if lede else "",
        "stats": _stats(results),
        "headline": _headline(rows),
        "answers": _answers(results.get("answers") or {}),
        "curves": _loss_curves(curves or {}),
        "roc": _roc(roc or {}),
        "categories": _categories(results),
        "facts": _facts(facts or {}),
    }
    template = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    for side, quality in _PICTURES:
        page = template.substitute(
            parts, sheet=_sheet(sheet, sheet_caption, 6 * side, quality), gallery=_gallery(gallery, side, quality)
        ).encode("utf-8")
        if len(page) <= MAX_BYTES:
            break
    else:
        raise ValueError(f"{path}: the report takes {len(page)} bytes, over {MAX_BYTES}; show fewer gallery items.")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(page)
    aside.replace(path)


def _default_rows(results: Mapping) -> list[SummaryRow]:
    return summary_rows(results) if "held_out" in results or "shots" in results else []


def _section(heading: str, body: str, note: str = "") -> str:
    intro = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{heading}</h2>{intro}{body}</section>" if body else ""


def _mean(value: Mapping[str, float] | float | None) -> float:
    """The number to show; not a number where there is none."""
    number = mean_of(value)
    return math.nan if number is None else float(number)


def _measured(results: Mapping) -> Mapping:
    return results.get("held_out") or results.get("shots") or {}


def _stats(results: Mapping) -> str:
    """The few numbers to remember, large."""
    stats = []
    measured = _measured(results)
    if measured:
        most = by_shots(measured)[-1]
        for metric, name in (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC")):
            value = _mean(measured[most].get(metric))
            if math.isfinite(value):
                stats.append((f"{value:.3f}", f"{name} with {references(most)}"))
        wrong = (results.get("controls") or {}).get("wrong_reference") or {}
        same = {int(k): metrics for k, metrics in wrong.items()}.get(int(most), {})
        drop = _mean(measured[most].get("image_auroc")) - _mean(same.get("image_auroc"))
        if math.isfinite(drop):
            stats.append((f"{-drop:+.3f}".replace("-", "−"), "image AUROC when the references show a wrong product"))
    if results.get("wall_seconds"):
        minutes, seconds = divmod(round(results["wall_seconds"]), 60)
        stats.append((f"{minutes}:{seconds:02d}", "minutes, all told"))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(number)}</dd></div>" for number, name in stats)
    return f'<dl class="stats">{cells}</dl>' if cells else ""


def _value_html(value: Mapping[str, float] | float | None) -> str:
    if value is None:
        return "–"
    spread = f" <small>± {value['std']:.3f}</small>" if isinstance(value, Mapping) and "std" in value else ""
    return f"{_mean(value):.3f}{spread}"


def _headline(rows: Sequence[SummaryRow]) -> str:
    """Two tables side by side, image and pixel: settings down, numbers of references across, their mean at the end."""
    if not rows:
        return ""
    settings = {row.setting: row.control for row in rows}
    shots = sorted({row.shots for row in rows})
    tables = []
    for metric, name in (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC")):
        value = {(row.setting, row.shots): getattr(row, metric) for row in rows}
        if all(v is None for v in value.values()):
            continue
        several = len(shots) > 1
        heads = "".join(f'<th scope="col">{k}-shot</th>' for k in shots) + '<th scope="col">mean</th>' * several
        body = ""
        for setting, control in settings.items():
            cells = "".join(f"<td>{_value_html(value.get((setting, k)))}</td>" for k in shots)
            mean = f"<td>{_value_html(mean_over_shots(rows, setting, metric))}</td>" if several else ""
            style = ' class="control"' if control else ""
            body += f'<tr{style}><th scope="row">{escape(setting)}</th>{cells}{mean}</tr>'
        tables.append(
            f'<table class="headline"><thead><tr><th scope="col">{name}</th>{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )
    note = (
        "Mean over the held-out categories, ± the standard deviation over draws of the references. 1 is perfect, 0.5 "
        "is guessing. In grey, the controls: what is left without training, or without the right references."
    )
    return _section("Results", f'<div class="pair">{"".join(tables)}</div>', note)


def _answers(answers: Mapping) -> str:
    """Shares of right answers: one column, or one per number of references where the keys are numbers."""
    if not answers:
        return ""
    per_shots = all(str(key).isdigit() for key in answers)
    columns = {str(k): answers[k] for k in by_shots(answers)} if per_shots else {"": answers}
    names = [name for name in _ANSWERS if any(column.get(name) is not None for column in columns.values())]
    if not names:
        return ""
    head = "".join(f'<th scope="col">{escape(references(k))}</th>' for k in columns) if per_shots else ""
    body = "".join(
        f'<tr><th scope="row">{_ANSWERS[name]}</th>'
        + "".join(f"<td>{_value_html(column.get(name))}</td>" for column in columns.values())
        + "</tr>"
        for name in names
    )
    head = f"<thead><tr><th></th>{head}</tr></thead>" if head else ""
    return _section("What it says", f"<table>{head}<tbody>{body}</tbody></table>", "Share of generated answers that …")


def _loss_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    panels = []
    for stage, log in curves.items():
        names = [name for name in _LOSSES if name in log]
        if "step" not in log or not names:
            continue
        steps = np.asarray(log["step"], np.float64)
        raw = {name: np.asarray(log[name], np.float64) for name in names}
        # A part that is all of the loss would only hide it.
        names = [name for name in raw if name == "loss" or "loss" not in raw or not np.allclose(raw[name], raw["loss"])]
        window = max(1, len(steps) // 40)
        hues = iter(("c2", "c3", "c4", "c5", "c6") * (1 + len(names) // 5))
        smooth = [
            Line(name, steps, moving_average(raw[name], window), "c1 strong" if name == "loss" else next(hues))
            for name in names
        ]
        highest = np.concatenate([line.y[np.isfinite(line.y)] for line in smooth])
        if not highest.size or not len(steps):
            continue
        top = float(highest.max()) * 1.04 or 1.0
        faint = [Line("", steps, raw["loss"], "c1 faint")] if "loss" in raw else []
        # The total is drawn last, over its parts.
        chart = line_chart(
            [*faint, *smooth[::-1]],
            x_label="step",
            y_label="loss",
            x_range=(0.0, float(max(steps.max(), 1))),
            y_range=(min(0.0, float(highest.min())), top),
        )
        notes = [f"{line.y[np.isfinite(line.y)][-1]:.2f}" if np.isfinite(line.y).any() else "" for line in smooth]
        panels.append(f"<figure><h3>{escape(_stage_name(stage))}</h3>{chart}{legend(smooth, notes)}</figure>")
    layout = "panels pairs" if len(panels) in (2, 4) else "panels"
    body = f'<div class="{layout}">{"".join(panels)}</div>' if panels else ""
    return _section("How it learned", body, "Loss per training stage; numbers are the values at the end.")


def _stage_name(stage: str) -> str:
    return stage.replace("_", " ").replace("stage", "Stage ").replace("  ", " ").strip()


def _roc(roc: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    if not roc:
        return ""
    lines, notes = [], []
    hues = iter(("c6", "c3", "c1") + ("c2", "c4", "c5") * len(roc))
    mutes = iter(("mute", "mute dash", "mute dots") * (1 + len(roc)))
    for name, (scores, labels) in roc.items():
        false, true = roc_curve(scores, labels)
        control = any(word in name.lower() for word in ("untrained", "wrong", "no ref", "no_ref", "without"))
        lines.append(Line(CONTROLS.get(name, name.replace("_", " ")), false, true, next(mutes if control else hues)))
        notes.append(f"{image_metrics(scores, labels)['image_auroc']:.3f}")
    chart = line_chart(
        lines,
        x_label="good products called defective",
        y_label="defective products found",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        size=(440, 400),
        diagonal=True,
    )
    body = f'<div class="roc"><figure>{chart}</figure><div>{legend(lines, notes)}</div></div>'
    note = (
        "Share of defective products found (up) against share of good products called defective (right), for every "
        "threshold, all held-out categories thrown together: one threshold for all, which is harder than the table’s "
        "mean over categories. Numbers are the areas under the curves."
    )
    return _section("Defects found, false alarms", body, note)


def _categories(results: Mapping) -> str:
    measured = _measured(results)
    shots = [k for k in by_shots(measured) if measured[k].get("per_category")]
    if not shots:
        return ""
    most = measured[shots[-1]]["per_category"]
    names = sorted(most, key=lambda name: -_mean(most[name].get("image_auroc")))
    styles = {k: style for k, style in zip(shots[::-1], ("c1", "c3", "c6", "c5", "c4", "c2"), strict=False)}
    rows = []
    for name in names:
        values = {k: measured[k]["per_category"].get(name, {}) for k in shots}
        dots = strip([(styles.get(k, "mute"), _mean(values[k].get("image_auroc"))) for k in shots])
        numbers = "".join(
            f"<td{_wide(k, shots)}>{_number(values[k].get(metric))}</td>"
            for metric in ("image_auroc", "pixel_auroc")
            for k in shots
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th><td class="plot">{dots}</td>{numbers}</tr>')
    heads = "".join(
        f'<th scope="col"{_wide(k, shots)}>{metric}<br>{escape(str(k))}-shot</th>'
        for metric in ("image", "pixel")
        for k in shots
    )
    table = (
        f'<div class="scroll"><table class="categories"><thead><tr><th></th><th class="plot">{strip_axis()}</th>{heads}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    none = np.zeros(0)
    keys = legend([Line(references(k), none, none, styles.get(k, "mute")) for k in shots], dots=True)
    return _section("Category by category", keys + table, "AUROC of each held-out category; dots are the image AUROC.")


def _wide(k: int | str, shots: Sequence[int | str]) -> str:
    """On a phone only the column of the most references has room."""
    return "" if k == shots[-1] else ' class="wide"'


def _number(value: Mapping[str, float] | float | None) -> str:
    mean = _mean(value)
    return f"{mean:.3f}" if math.isfinite(mean) else "–"


def _sheet(sheet: np.ndarray | None, caption: str, side: int, quality: int) -> str:
    if sheet is None:
        return ""
    picture = picture_html(sheet, caption or "picture sheet of the products", side=side, quality=quality)
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return _section("The products", f'<figure class="sheet">{picture}{words}</figure>')


def _gallery(items: Sequence[GalleryItem], side: int, quality: int) -> str:
    note = (
        "Each card: the good examples it was given, the image it inspected, the true mask, and where it looked, with "
        "the true outline in white. Heat is on one scale per category. In quotation marks, its own words."
    )
    return _section("Where it looked", gallery_html(items, side, quality), note)


def _facts(facts: Mapping[str, str]) -> str:
    entries = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return _section("How it was run", f'<dl class="facts">{entries}</dl>' if entries else "")
