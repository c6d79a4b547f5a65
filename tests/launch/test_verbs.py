"""`iadgpt`: its verbs are the scripts, it is there at once, names what was meant, completes, and a wheel carries it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launch.verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("jax", "numpy", "tensorflow", "cv2")


def iadgpt(*words: str, loaded: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Run the command in a process of its own; `loaded` is written on its last line: modules that it imported."""
    code = "import sys; from iadgpt_jax.__main__ import main; sys.argv = ['iadgpt', *sys.argv[1:]]\n"
    code += f"try: sys.exit(main())\nfinally: print([name for name in {loaded.split()} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("trian",), ("--vresion",)])
def test_the_list_of_verbs_and_a_mistyped_one_import_nothing_heavy(words):
    run = iadgpt(*words, loaded=" ".join(HEAVY))
    assert run.stdout.splitlines()[-1] == "[]"
    if run.returncode:
        told = {"trian": "no such verb: trian; did you mean train?", "--vresion": "--vresion; did you mean --version?"}
        assert run.returncode == 2 and told[words[0]] in run.stderr and run.stderr.count("\n") == 1
    else:
        assert all(f"\n  {name} " in run.stdout for name in VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_a_script_whose_help_names_the_verb(name):
    text = (ROOT / VERBS[name].file).read_text()
    assert f"iadgpt {name}" in ast.get_docstring(ast.parse(text)) and '__name__ == "__main__"' in text


def test_help_of_training_lists_the_keys_with_defaults_without_jax(tmp_path):
    """From anywhere: the configuration is that of the package."""
    run = iadgpt("train", "--config=configs/stage1.py:tiny", "--help", loaded="jax tensorflow", cwd=tmp_path)
    assert run.returncode == 0 and run.stdout.splitlines()[-1] == "[]"
    assert "--config.optimizer.rate=0.0005" in run.stdout and "--workdir: folder" in run.stdout


@pytest.mark.parametrize(
    "words, told",
    [
        (["train", "--config=configs/stage2.py:tiny", "--wrokdir=x"], "--wrokdir; did you mean --workdir?"),
        (["train", "--config=configs/stage2.py:tiny"], "--workdir is missing"),
        (["train", "--config=configs/stage2.py:tiny", "--workdir=x", "--config.optimizer.ratee=1"],
         "'optimizer.ratee'; did you mean optimizer.rate?"),
        (["compile", "--config=configs/stage2.py:7b", "--topology=v5e:4x4", "--config.stpes=1"], "did you mean steps?"),
        (["compose", "--config=configs/stage9.py:tiny", "--out=x"], "no configuration configs/stage9.py"),
        (["evaluate", "--datset=x"], "--datset; did you mean --dataset?"),
        (["convert", "exprot"], "invalid choice: 'exprot'"),
    ],
)  # fmt: skip
def test_a_misspelt_flag_or_key_is_named_before_jax_is_loaded(words, told, tmp_path):
    run = iadgpt(*words, loaded="jax", cwd=tmp_path)
    assert run.returncode == 2 and told in run.stderr and run.stderr.count("\n") == 1
    if words[0] != "convert":  # which imports JAX first
        assert run.stdout.splitlines()[-1] == "[]"


def test_a_pipe_that_nobody_reads_ends_it_quietly():
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "iadgpt_jax", "--help"], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write)
    assert run.returncode == 141 and run.stderr == b""


@pytest.mark.slow
def test_completion_knows_verbs_flags_and_keys(tmp_path):
    script = tmp_path / "complete.sh"
    script.write_text(iadgpt("completion", "bash").stdout.rpartition("[")[0])

    def completed(*words: str) -> set[str]:
        asked = f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_iadgpt; "
        run = subprocess.run(
            ["bash", "-c", asked + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True, timeout=60
        )
        return set(run.stdout.split())

    assert completed("iadgpt", "pre") == {"predict", "prepare"}
    assert completed("iadgpt", "predict", "--que") == {"--query"}
    assert "--config.optimizer.rate" in completed("iadgpt", "train", "--config.optimizer.r")
    assert completed("iadgpt", "convert", "ver") == {"verify"}


@pytest.mark.slow
def test_the_wheel_carries_every_command_and_what_they_read(tmp_path):
    """Built and unpacked, it runs away from the clone, and puts one name only beside other people's packages."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    site = tmp_path / "site"
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"iadgpt_jax"}
    for name in subprocess.run(
        ["git", "ls-files", "iadgpt_jax", "launch", "configs", "tools"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split():
        inside = name if name.startswith("iadgpt_jax/") else f"iadgpt_jax/_commands/{name}"
        assert (site / inside).is_file(), f"the wheel lacks {name}"
    away = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(site)}, "capture_output": True, "text": True}
    command = [sys.executable, "-m", "iadgpt_jax", "train", "--config=configs/stage3.py:tiny", "--help"]
    run = subprocess.run(command, **away, timeout=120)
    assert run.returncode == 0 and "--config.steps=1900" in run.stdout
