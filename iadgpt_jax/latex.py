"""Text that LaTeX sets as it is written here: names in a table are anybody's, and may be called like a command."""

from __future__ import annotations

import unicodedata

_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "–": "--", "−": r"$-$", "×": r"$\times$",
    "✓": r"$\checkmark$", "✗": r"$\times$",  # the first of them needs the package amssymb
    "[": "{[}", "*": "{*}",  # after the end of a line these two would be its arguments
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Control characters and line ends become spaces."""
    plain = " ".join("".join(" " if unicodedata.category(char).startswith("C") else char for char in text).split())
    while "--" in plain:  # a pair would be set as one dash
        plain = plain.replace("--", "-\0-")
    return "".join(_ESCAPED.get(char, char) for char in plain).replace("\0", "{}")
