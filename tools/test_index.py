"""The index of tests, docs/tests.md, written from the first line of each test file's docstring.

python tools/test_index.py [--check]

With --check nothing is written: an index that is not current, or a test file without its sentence, ends with status 2.
"""

from __future__ import annotations

import ast
import sys
from itertools import groupby
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.errors import InputError, Parser, clear_errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs/tests.md")
HEAD = """\
# What the tests hold

Written by `python tools/test_index.py` from the first line of each file's docstring.
`make test` runs all but what is marked `nightly`, `make test-all` that too; `make test-quick` leaves out the slow ones.
"""


def sentence(path: Path) -> str:
    """The first line of a test file's docstring.

    Raises:
      InputError: there is no docstring, or its first line is not a whole sentence.
    """
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = docstring.partition("\n")[0].strip()
    if not line.endswith("."):
        raise InputError(f"{path}: the first line of the docstring is no whole sentence; say there what the tests hold")
    return line


def index(root: Path) -> str:
    """The page for the tests under `root`/tests: a table for every folder, that of tests/ itself first."""
    tests = root / "tests"
    paths = sorted(tests.rglob("test_*.py"), key=lambda path: (path.parent.relative_to(tests), path.name))
    parts = [HEAD]
    for folder, files in groupby(paths, lambda path: path.parent.relative_to(root)):
        rows = [f"| `{path.name}` | {sentence(path).replace('|', chr(92) + '|')} |" for path in files]
        parts.append("\n".join([f"## {folder.as_posix()}", "", "| file | what it holds |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


@clear_errors()
def main(arguments: list[str] | None = None) -> None:
    parser = Parser(prog="test_index.py", description="Write docs/tests.md from the docstrings of the test files.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is not current")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the repository")
    flags = parser.parse_args(arguments)
    page, text = flags.root / PAGE, index(flags.root)
    current = page.is_file() and page.read_text(encoding="utf-8") == text
    if flags.check and not current:
        raise InputError(f"{PAGE} is not current: run python tools/test_index.py")
    if not flags.check:
        page.parent.mkdir(exist_ok=True)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
