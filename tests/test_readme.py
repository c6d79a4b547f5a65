"""README.md, CONTRIBUTING.md and docs/ stay true where a machine can tell: files, links and flags they name exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from launch.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))}
REST = r"((?:[^\n`]|(?<=\\)\n)*)"
COMMANDS = sorted(
    {
        command
        for text in PAGES.values()
        for command in [
            *re.findall(rf"python ((?:launch|tools)/[\w/]+\.py){REST}", text),
            *((VERBS[verb].file, rest) for verb, rest in re.findall(rf"\biadgpt ({'|'.join(VERBS)})\b{REST}", text)),
        ]
    }
)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_files_a_page_names_exist(page):
    text = re.sub(r"^    # .*$", "", PAGES[page], flags=re.MULTILINE)  # an example may name a file yet to be written
    named = re.findall(r"(?<![\w./-])(?:launch|tools|configs|tests|iadgpt_jax)/[\w/]*(?:\.\w+)?", text)
    missing = {name for name in named if "NAME" not in name and not (ROOT / name).exists()}
    assert not missing


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_links_of_a_page_lead_somewhere(page):
    """Relative links name files of the repository; an anchor names a heading of its page."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


def test_every_page_of_docs_can_be_reached_from_the_readme():
    reached, open_ = set(), ["README.md"]
    while open_:
        page = open_.pop()
        reached.add(page)
        for target in re.findall(r"\]\((?!https?:)([^)#]+\.md)", PAGES[page]):
            name = str(((ROOT / page).parent / target).resolve().relative_to(ROOT))
            open_ += [name] if name not in reached else []
    assert reached == set(PAGES)


def test_the_picture_of_the_layers_shows_the_layers_that_lint_holds():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["iadgpt_jax"])
    drawn = re.findall(r">([a-z_]+)</text>", (ROOT / "docs/layers.svg").read_text())
    held = [name for layer in reversed(layers) for name in layer.split(" | ")]
    assert drawn[: len(held)] == held, "draw it anew: python tools/draw_design.py --out=docs"


def test_the_readme_stays_short():
    assert len(PAGES["README.md"].splitlines()) <= 180


# Where keys stand that configurations take over from the code.
OPTIONS = {"model": ("iadgpt_jax/models/*/config.py",), "mixture": ("iadgpt_jax/data/tasks/*.py",)}


@pytest.mark.parametrize("script, rest", COMMANDS, ids=[script for script, _ in COMMANDS])
def test_the_flags_of_a_command_exist(script, rest):
    """Every --flag of a documented command stands in its script or the module that adds flags to it; --config.KEY in
    configs/, a name of a source aside."""
    code = (ROOT / script).read_text() + '"--quiet" "--help"'  # which every command has
    for module in re.findall(r"^from ([\w.]+) import .*\badd_\w*flags", code, re.MULTILINE):
        code += (ROOT / f"{module.replace('.', '/')}.py").read_text()
    configurations = "".join(path.read_text() for path in (ROOT / "configs").glob("*.py"))
    for flag in re.findall(r"--([\w.]+)", rest.partition(" -- ")[0]):
        head, _, key = flag.partition(".")
        assert f'"{head}"' in code or f'"--{head}"' in code, f"--{flag}"
        names = key.split(".") if key else []
        if names[:1] == ["sources"]:
            names.pop(1)  # a source's name is the reader's own
        text = configurations
        for pattern in OPTIONS.get(names[0], ()) if names else ():
            text += "".join(path.read_text() for path in ROOT.glob(pattern))
        for name in names:
            assert re.search(rf"\b{name}\b", text), f"--{flag}"


def test_no_file_cites_what_is_not_in_the_repository():
    """Whoever clones the project can follow every reference in it."""
    outside = re.compile(r"\b(?:DESIGN|FACTS|STYLE|SOURCES)\.md|\bissue #?\d")
    kinds = {".py", ".md", ".html", ".sh", ".yaml", ".toml", ".sbatch", ".txt"}
    parts = ("iadgpt_jax", "configs", "launch", "tools", "tests", "docs", "examples")
    files = [*ROOT.glob("*"), *(path for part in parts for path in (ROOT / part).rglob("*"))]
    found = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in files
        if path.is_file() and path.suffix in kinds and path != Path(__file__)
        for match in outside.findall(path.read_text())
    ]
    assert not found
