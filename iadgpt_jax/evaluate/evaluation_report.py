"""The report of an evaluation directory: one self-contained page, and every table as CSV and LaTeX.

It is made from what `evaluate` wrote: metrics.json, protocol.json, raw/ and answers.jsonl, each optional but the first.
Photographs come from the dataset, by the keys of the queries; without it the cards show masks and maps alone. Raw files
are read one category at a time and only some cases are shown, so that neither memory nor the page grows with the number
of queries. Layout and style are in evaluation.html.jinja, parts.html.jinja and look.css.jinja beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate import report_words as words
from iadgpt_jax.evaluate.answer_tables import answer_tables
from iadgpt_jax.evaluate.cases import KINDS, Case, choose
from iadgpt_jax.evaluate.evaluation_tables import (
    comparison,
    headline,
    per_category,
    published_categories,
)
from iadgpt_jax.evaluate.gallery import GalleryItem, Picture, card, picture
from iadgpt_jax.evaluate.measure import ANSWER, BOTH, MAP, Options
from iadgpt_jax.evaluate.page import environment
from iadgpt_jax.evaluate.published import benchmark_of, plain
from iadgpt_jax.evaluate.raw import Masks, RawFolder
from iadgpt_jax.evaluate.report_curves import (
    PANELS,
    category_curves,
    overview,
    panels,
    score_histogram,
)
from iadgpt_jax.evaluate.report_photographs import Photographs
from iadgpt_jax.evaluate.strips import category_strips
from iadgpt_jax.evaluate.table import as_shown, by_shots, references
from iadgpt_jax.evaluate.table_files import Table, write_tables
from iadgpt_jax.evaluate.transcripts import read_transcripts
from iadgpt_jax.infer.margin import probability
from iadgpt_jax.whole_file import write_whole

MAX_BYTES = 3_000_000  # of the page: it still travels by mail and opens on a phone
ROWS = 150  # of categories that the page lists; the files list all
_PICTURES = ((192, 84), (144, 78), (104, 70), (72, 58), (48, 50))  # longer side and JPEG quality, best first
_SCORES = {MAP: "maximum of the map", BOTH: "margin and maximum of the map, standardised"}  # other than the margin
_HEADINGS = {
    "best": ("Best", "farthest on the right side of the category’s threshold"),
    "worst": ("Worst", "farthest on the wrong side"),
    "borderline": ("Borderline", "closest to the threshold"),
}


def write_evaluation_report(directory: str | Path, source: Source | None = None) -> Path:
    """Write DIRECTORY/report.html and DIRECTORY/tables/, each file complete or not at all.

    Args:
      directory: an evaluation directory.
      source: the dataset it was made on, for photographs; None: the cards go without.

    Returns:
      the path of the page, at most MAX_BYTES long.

    Raises:
      InputError: metrics.json or protocol.json is missing or damaged, raw files do not fit it, or a photograph that the
        dataset lists cannot be read.
      ValueError: the page exceeds MAX_BYTES even with the smallest pictures.
    """
    directory = Path(directory)
    metrics = as_shown(words.read_json(directory / "metrics.json"))
    protocol = words.read_json(directory / "protocol.json") if (directory / "protocol.json").is_file() else {}
    shots = metrics.get("shots") or {}
    name = words.name_of(metrics)
    categories = words.categories_of(shots)

    # ---- Raw files: curves, scores, and which cases to show ----
    draws = len(protocol.get("draws") or ()) if (directory / "raw").is_dir() else 0
    options = _options(metrics)
    margins = options.image_score == ANSWER
    label, mark = ("margin", 0.0) if margins else (_SCORES[options.image_score], None)
    raw, found = RawFolder(directory), []
    for category in protocol.get("queries") or {} if draws else ():
        readers = [partial(raw.scores, draw, category) for draw in range(draws)]
        found.append(category_curves(category, raw.queries(category), readers, options))
    chosen = choose([one.cases for one in found])

    # ---- Tables ----
    tables = _tables(metrics, name, categories, protocol)
    write_tables(directory / "tables", list(tables.values()))

    # ---- What the page shows ----
    transcripts, answered = read_transcripts(directory)
    seen = _seen(raw, [case for kind in KINDS for case in chosen[kind]])
    most = int(by_shots(shots)[-1]) if shots else 0
    queries = {one.key for one in seen.values()} | {one.image for one in transcripts}
    photographs = Photographs(source, queries | {key for case in seen for key in _all_references(protocol, case)})
    scales = {one.name: (one.low, one.high) for one in found}
    items = {
        kind: [
            _item(
                case,
                seen[case],
                _references(protocol, case, photographs.viewpoint(seen[case].key), most),
                photographs,
                scales[case.category],
                margins,
            )
            for case in chosen[kind]
        ]
        for kind in KINDS
    }
    content: dict[str, Any] = {
        "title": name,
        "lede": words.lede(metrics, categories, protocol),
        "stats": words.stats(shots),
        "warnings": words.warnings(metrics),
        "tables": tables,
        "rows": ROWS,
        "at_hand": source is not None,
        "most": references(most),
        "charts": overview(found, shots),
        "scores": score_histogram(found, label, mark, size=(400, 210)),
        "strips_of": category_strips(shots, ROWS),
        "panels": panels(found, label),
        "panels_left_out": max(len(found) - PANELS, 0),
        "undefined": words.undefined(metrics)[:ROWS],
        "answered": answered,
        "facts": words.facts(metrics),
        "draws": words.draws(protocol, ROWS),
    }
    template = environment().get_template("evaluation.html.jinja")
    for side, quality in _PICTURES:
        content["galleries"] = [
            {"heading": heading, "note": note, "cards": [card(item, side, quality) for item in items[kind]]}
            for kind, (heading, note) in _HEADINGS.items()
            if items[kind]
        ]
        content["transcripts"] = [
            (one, _thumbnail(photographs.get(one.image), one.image, side, quality)) for one in transcripts
        ]
        page = template.render(content)
        if (size := len(page.encode("utf-8", errors="replace"))) <= MAX_BYTES:
            break
    else:
        raise ValueError(f"{directory}: the report takes {size} bytes, over {MAX_BYTES}.")
    write_whole(directory / "report.html", page)
    return directory / "report.html"


def _thumbnail(image, name: str, side: int, quality: int) -> Picture | None:
    return None if image is None else picture(image, name, side=side // 2, quality=quality)


@dataclass(frozen=True)
class _Seen:
    """What the raw files hold of a case: its key, uint8[H, W] mask where it is known, and map float32[h, w]."""

    key: str
    mask: np.ndarray | None
    map: np.ndarray


def _seen(raw: RawFolder, cases: Sequence[Case]) -> dict[Case, _Seen]:
    """What the raw files hold of the cases, every category's files read once."""
    seen = {}
    for category in dict.fromkeys(case.category for case in cases):
        queries, draw = raw.queries(category), raw.scores(0, category)
        maps = draw.maps[int(np.argmax(draw.shots))]
        for case in (case for case in cases if case.category == category):
            mask = Masks(queries)[case.index] if queries.masked[case.index] else None
            seen[case] = _Seen(str(queries.keys[case.index]), mask, maps[case.index].copy())
    return seen


def _item(
    case: Case, seen: _Seen, shown: Sequence[str], photographs: Photographs, scale: tuple[float, float], margins: bool
) -> GalleryItem:
    """A card's content. shown: keys of its references; scale: the ends of its category's maps."""
    found = [image for image in map(photographs.get, shown) if image is not None]
    return GalleryItem(
        references=found, query=photographs.get(seen.key), mask=seen.mask, map=seen.map, low=scale[0], high=scale[1],
        score=probability(case.score) if margins else None, label=case.label, category=case.category,
        answer="", truth="", verdict="hit" if case.side >= 0 else "miss", name=seen.key,
        note=f"{'margin' if margins else 'score'} {case.score:+.3g}, threshold {case.threshold:+.3g}",
    )  # fmt: skip


def _references(protocol: Mapping, case: Case, viewpoint: str, count: int) -> list[str]:
    """Keys of the first references that the first draw showed with a query from this viewpoint."""
    drawn = protocol["draws"][0].get(case.category) or ()
    return list(drawn.get(viewpoint) or () if isinstance(drawn, Mapping) else drawn)[:count]


def _all_references(protocol: Mapping, case: Case) -> list[str]:
    """Keys of all that the first draw showed, from any viewpoint."""
    drawn = protocol["draws"][0].get(case.category) or ()
    return [key for keys in drawn.values() for key in keys] if isinstance(drawn, Mapping) else list(drawn)


def _options(metrics: Mapping) -> Options:
    """What metrics.json was computed with."""
    smoothing = metrics.get("smoothing", 0.0)
    return Options(metrics.get("image_score", ANSWER), 0.0 if smoothing == "none" else float(smoothing))


def _tables(metrics: Mapping, name: str, categories: list[str], protocol: Mapping) -> dict[str, Table]:
    """{name: table}, those that there is something for."""
    shots = metrics.get("shots") or {}
    if not shots:
        return {table.name: table for table in answer_tables(metrics)}
    tables = [headline(shots, name)]
    if categories:
        tables.append(per_category(shots, name))
    benchmark = benchmark_of(name, categories)
    if benchmark is not None:
        queries = sum(len(keys) for category, keys in (protocol.get("queries") or {}).items() if category in categories)
        beside = comparison(shots, benchmark, categories, queries)
        if len(beside.rows) > 1:
            tables.append(beside)
            tables.append(published_categories(shots, benchmark, {name: plain(name) for name in categories}))
    return {table.name: table for table in tables}
