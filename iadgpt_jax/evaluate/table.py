"""The headline table: what was measured at each number of references, and the controls beneath it.

`summary_rows` reads it out of a results dictionary (results.json), `render_table` sets it in plain text for the
terminal; the HTML report sets the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEADINGS = ("image AUROC", "pixel AUROC")
CONTROLS = {  # in the order they are shown
    "untrained": "untrained model",
    "wrong_reference": "references of a wrong product",
    "no_reference": "no references",
}


TRAINED = "trained model"


@dataclass(frozen=True)
class SummaryRow:
    """One setting at one number of references: metrics are {"mean", "std"}, a plain number, or None (not measured)."""

    setting: str
    shots: int
    image_auroc: Mapping[str, float] | float | None
    pixel_auroc: Mapping[str, float] | float | None
    control: bool = False


def summary_rows(results: Mapping) -> list[SummaryRow]:
    """Rows of `held_out` (or `shots`, as evaluate writes it) by number of references, then those of `controls`.

    Raises:
      KeyError: the results hold neither `held_out` nor `shots`.
    """
    measured = results["held_out"] if "held_out" in results else results["shots"]
    rows = [_row(TRAINED, k, measured[k]) for k in by_shots(measured)]
    controls = results.get("controls") or {}
    for name in [*CONTROLS, *(name for name in controls if name not in CONTROLS)]:
        table = controls.get(name) or {}
        label = CONTROLS.get(name, name.replace("_", " "))
        rows += [_row(label, k, table[k], control=True) for k in by_shots(table)]
    return rows


def by_shots(table: Mapping) -> list:
    """The keys of a mapping from numbers of references (as int or text), ascending."""
    return sorted(table, key=int)


def as_shown(results: Mapping) -> Mapping:
    """The results, those of a control without references as one row of none, for their number changes nothing."""
    shots = results.get("shots")
    if results.get("references") != "none" or not shots:
        return results
    return {**results, "shots": {"0": shots[by_shots(shots)[0]]}}


def references(k: int | str) -> str:
    """ "0 references", "1 reference", "4 references"."""
    return f"{k} reference" + ("" if int(k) == 1 else "s")


def value_text(value: Mapping[str, float] | float | None) -> str:
    """ "0.931 ± 0.004", "0.931" for a plain number, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return f"{value['mean']:.3f} ± {value['std']:.3f}"
    return f"{value:.3f}"


def mean_over_shots(rows: Sequence[SummaryRow], setting: str, metric: str) -> float | None:
    """The plain mean of a metric over a setting's rows; None where a row lacks it or there is only one."""
    values = [mean_of(getattr(row, metric)) for row in rows if row.setting == setting]
    return sum(values) / len(values) if len(values) > 1 and None not in values else None


def mean_of(value: Mapping[str, float] | float | None) -> float | None:
    """The number itself, without its spread."""
    return value["mean"] if isinstance(value, Mapping) else value


def render_table(rows: Sequence[SummaryRow]) -> str:
    """Plain text in aligned columns, one line per setting and number of references; a rule before the controls."""
    lines: list[tuple[str, ...] | None] = [("", *HEADINGS), None]
    settings = dict.fromkeys(row.setting for row in rows)
    ruled = False
    for setting in settings:
        chosen = [row for row in rows if row.setting == setting]
        if chosen[0].control and not ruled and len(lines) > 2:
            lines.append(None)
            ruled = True
        if all(row.image_auroc == chosen[0].image_auroc and row.pixel_auroc == chosen[0].pixel_auroc for row in chosen):
            chosen = chosen[:1]  # what does not depend on the number of references needs one line
        for row in chosen:
            name = setting if len(chosen) == 1 and row.control else f"{setting}, {references(row.shots)}"
            lines.append((name, value_text(row.image_auroc), value_text(row.pixel_auroc)))
        means = [mean_over_shots(chosen, setting, metric) for metric in ("image_auroc", "pixel_auroc")]
        if means != [None, None] and not chosen[0].control:
            # Set under the means, not under the spreads.
            lines.append(("  mean over these", *(value_text(mean) + " " * 8 for mean in means)))
    widths = [max(len(line[column]) for line in lines if line) for column in range(3)]
    rule = "─" * (sum(widths) + 4)
    texts = [
        f"{line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}".rstrip() if line else rule
        for line in lines
    ]
    return "\n".join(texts)


def _row(setting: str, k: int | str, metrics: Mapping, control: bool = False) -> SummaryRow:
    return SummaryRow(setting, int(k), metrics.get("image_auroc"), metrics.get("pixel_auroc"), control)
