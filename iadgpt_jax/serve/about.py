"""What the app says of the model it runs."""

from __future__ import annotations

from pathlib import Path

import jax

from iadgpt_jax.infer.inspector import Inspector


def model_card(inspector: Inspector, checkpoint: str, path: Path) -> str:
    """Markdown."""
    count = sum(leaf.size for leaf in jax.tree.leaves(inspector.params))
    config, side, unit = inspector.config, inspector.side, inspector.unit
    stage = inspector.info.get("config", {}).get("stage")
    rows = {
        "name": config.name,
        "parameters": f"{count:,}",
        "checkpoint": f"`{checkpoint}` in `{path.name}`",
        "training stage": stage,
        "square it sees": f"{side} × {side} pixels, a map value for {unit} × {unit}",
        "question it answers": inspector.prompt.question,
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value is not None)
    words = (
        "IADGPT compares a part with photographs of good ones, in one forward pass: a score (how likely it is "
        "defective), a map (where), and an explanation. It was not trained on your product.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "**What it is not.** No certified test: a person decides. A map has a scale of its own: compare parts of one "
        "product. Scores of two models, or under other settings, do not compare. Small defects need tiles or a crop."
    )
    if config.name == "tiny":
        words += (
            " This is the tiny model: it knows the vocabulary of invented products only, and its words are not to be "
            "trusted on photographs."
        )
    return words
