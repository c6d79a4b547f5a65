"""Graded answers as tables: shares of right ones beside what constant answers and the map would get, and which kinds of
defect are taken for which. For the report and, but for the kinds, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iadgpt_jax.evaluate.table import by_shots, references, value_text

GRADES = {
    "verdict": "says rightly whether the product is good",
    "kind": "names the kind of defect",
    "place": "names the place, one of nine",
    "place_within_one": "that place or the one next to it",
    "parsed": "can be read",
}
QUESTIONS = {"where": "Where is it?", "is_there": "Is there a scratch? (or whatever it is)", "why": "Why?"}
PAIRS = {"good": "a good product", "defective": "a defective one", "both": "both right"}
BESIDE = {"baselines": "one constant answer", "map_reading": "read off its map"}  # what results hold beside the model


def answer_table(answers: Mapping) -> dict | None:
    """{"heads", "rows": (what, shares)}: a column for the model and one for each of BESIDE, or one per number of
    references where the keys are numbers; None where there is nothing to show."""
    if answers and all(str(key).isdigit() for key in answers):
        columns, heads = [answers[k] for k in by_shots(answers)], [references(k) for k in by_shots(answers)]
    else:
        beside = [name for name in BESIDE if answers.get(name)]
        columns = [answers, *(answers[name] for name in beside)]
        heads = ["the model", *(BESIDE[name] for name in beside)] if beside else []
    names = [name for name in GRADES if any(column.get(name) is not None for column in columns)]
    if not names:
        return None
    return {"heads": heads, "rows": [(GRADES[name], [column.get(name) for column in columns]) for name in names]}


def asked_table(asked: Mapping[str, Mapping[str, float]]) -> dict | None:
    """Likewise of short questions (evaluate/asked.py): rows are questions, columns good products, defective ones, and
    pairs of which both are right."""
    if not asked:
        return None
    rows = [(QUESTIONS.get(name, name), [shares[which] for which in PAIRS]) for name, shares in asked.items()]
    return {"heads": list(PAIRS.values()), "rows": rows}


def render_answers(answers: Mapping) -> str:
    """Both tables as plain text in aligned columns."""
    first = answer_table(answers)
    if first is None:
        return "no answers were graded"
    told = f"{answers['count']} answers" if "count" in answers else "answers"
    texts = [_aligned(told, first["heads"] or ["share"], first["rows"])]
    if second := asked_table(answers.get("asked") or {}):
        texts.append(_aligned("short questions, asked of", second["heads"], second["rows"]))
    return "\n\n".join(texts)


def _aligned(title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence]]) -> str:
    lines = [(title, *heads), *((name, *map(value_text, values)) for name, values in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join((line[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True))))
        for line in lines
    )


def kind_table(kinds: Mapping[str, Mapping[str, int]]) -> dict | None:
    """{"heads": what was said, "rows": (true kind, (count, whether it is right) of each)}: word_bounds.confusion; true
    kinds first, in their order, then what else was said. None for an empty one."""
    if not kinds:
        return None
    others = sorted({said for counts in kinds.values() for said in counts} - set(kinds))
    heads = [*kinds, *others]
    rows = [(kind, [(counts.get(said, 0), said == kind) for said in heads]) for kind, counts in kinds.items()]
    return {"heads": heads, "rows": rows}
