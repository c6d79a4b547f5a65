"""Messages for faulty input speak in one voice: in lower case, one line, what is wrong and what to do about it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("iadgpt_jax", "launch", "tools", "configs")
GAP = "{}"  # where a value stands
REMEDY = re.compile(r"[;:(]|, not |\bchoose\b|\bgive\b|--|\binstead\b")
FOREIGN = re.compile(r"\b(please|invalid|illegal|sorry|oops|unfortunately|failed to|unable to)\b", re.IGNORECASE)


def text_of(node: ast.expr) -> str | None:
    """A text as it stands in the source; None where it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = text_of(node.left), text_of(node.right)
        return None if None in parts else "".join(parts)
    return None


def messages() -> dict[str, str]:
    """{file:line: message} of every InputError that is raised with a text."""
    found = {}
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError" and node.args:
                if (text := text_of(node.args[0])) is not None:
                    found[f"{path.relative_to(ROOT)}:{node.lineno}"] = text
    return found


MESSAGES = messages()


def test_they_are_found():
    assert len(MESSAGES) > 400


RULES = {
    "begins in lower case, unless with a name": lambda text: (
        not re.match("[A-Z][a-z]+ ", text) or text.startswith("JAX")
    ),
    "ends without a full stop": lambda text: not text.rstrip().endswith((".", "!")),
    "is one line": lambda text: "\n" not in text,
    "says it in our words": lambda text: not FOREIGN.search(text),
    "says what to do, or what there is": lambda text: text == GAP or bool(REMEDY.search(text)),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_message(rule):
    wrong = {place: text for place, text in MESSAGES.items() if not RULES[rule](text)}
    assert not wrong
