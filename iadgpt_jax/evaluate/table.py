"""The headline table: what was measured at each number of references, and the controls beneath it.

`summary_rows` reads it out of a results dictionary (DESIGN.md §8), `render_table` sets it in plain text for the
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


@dataclass(frozen=True)
class SummaryRow:
    """One setting: each metric is {"mean", "std"}, a plain number, or None where it was not measured."""

    setting: str
    image_auroc: Mapping[str, float] | float | None
    pixel_auroc: Mapping[str, float] | float | None
    control: bool = False


def summary_rows(results: Mapping) -> list[SummaryRow]:
    """Rows of `held_out` (or `shots`, as evaluate writes it) by number of references, then those of `controls`.

    Raises:
      KeyError: the results hold neither `held_out` nor `shots`.
    """
    measured = results["held_out"] if "held_out" in results else results["shots"]
    rows = [_row(references(k), measured[k]) for k in by_shots(measured)]
    controls = results.get("controls", {})
    for name in [*CONTROLS, *(name for name in controls if name not in CONTROLS)]:
        for k in by_shots(controls.get(name, {})):
            label = CONTROLS.get(name, name.replace("_", " "))
            setting = label if int(k) == 0 or name == "no_reference" else f"{label}, {k}-shot"
            row = _row(setting, controls[name][k], control=True)
            if row not in rows:  # without references every number of shots is the same
                rows.append(row)
    return rows


def by_shots(table: Mapping) -> list:
    """The keys of a mapping from numbers of references (as int or text), ascending."""
    return sorted(table, key=int)


def references(k: int | str) -> str:
    """"1 reference", "4 references"."""
    return f"{k} reference" + ("" if int(k) == 1 else "s")


def value_text(value: Mapping[str, float] | float | None) -> str:
    """"0.931 ± 0.004", "0.931" for a plain number, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return f"{value['mean']:.3f} ± {value['std']:.3f}"
    return f"{value:.3f}"


def render_table(rows: Sequence[SummaryRow]) -> str:
    """Plain text in aligned columns; a rule stands between the measurements and the controls."""
    cells = [("", *HEADINGS)]
    cells += [(row.setting, value_text(row.image_auroc), value_text(row.pixel_auroc)) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = [f"{name:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}".rstrip() for name, a, b in cells]
    rule = "─" * (sum(widths) + 4)
    lines.insert(1, rule)
    first_control = next((i for i, row in enumerate(rows) if row.control), None)
    if first_control:
        lines.insert(2 + first_control, rule)
    return "\n".join(lines)


def _row(setting: str, metrics: Mapping, control: bool = False) -> SummaryRow:
    return SummaryRow(setting, metrics.get("image_auroc"), metrics.get("pixel_auroc"), control)
