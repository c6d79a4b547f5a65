"""No file that a user may have from a stranger can run code: nothing here unpickles, evaluates or executes it."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest

from iadgpt_jax.checkpoint.load import open_checkpoint
from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.data.sources.index import Index
from iadgpt_jax.errors import InputError
from tests.convert.checkpoints import write_checkpoint

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for folder in ("iadgpt_jax", "launch", "tools", "configs") for path in (ROOT / folder).rglob("*.py")
)
WORDS = re.compile("pickle|dill|joblib|marshal|shelve|allow_pickle|trust_remote_code|jsonpickle|cloudpickle")
CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE = {("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("os", "system"), ("tf", "load_model")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_names_what_would_run_a_files_code(path):
    """Outside of comments and texts; `allow_pickle=False` forbids it; `object.compile(…)` and `object.eval()` are
    others' methods."""
    with tokenize.open(path) as file:
        names = [token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME]
    names = " ".join(names).replace("allow_pickle False", "").split()
    assert not [name for name in names if WORDS.fullmatch(name)]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            assert not (isinstance(called, ast.Name) and called.id in CALLS), f"{path}:{node.lineno}"
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                assert (called.value.id, called.attr) not in UNSAFE, f"{path}:{node.lineno}"
            assert not [word for word in node.keywords if word.arg == "shell"], f"{path}:{node.lineno}"


class Bomb:
    """Its pickle makes a folder when it is opened."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


def test_pickles_and_remote_code_are_not_run_wherever_they_lie(tmp_path):
    made = tmp_path / "made"
    bomb = pickle.dumps(Bomb(made))
    write_checkpoint(tmp_path / "hf")
    model = tmp_path / "hf"
    (model / "modeling_own.py").write_text(f"import os; os.mkdir({str(made)!r})")
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "modeling_own.Config", "AutoModelForImageTextToText": "modeling_own.Model"}
    (model / "config.json").write_text(json.dumps(config))
    open_hf(model)  # the code beside the weights is not looked at
    (model / "model.safetensors").write_bytes(bomb)
    with pytest.raises(InputError):
        open_hf(model)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickle"):
        open_hf(model)
    (model / "tokenizer.json").write_bytes(bomb)
    with pytest.raises(InputError):
        open_checkpoint(model)
    index = tmp_path / "set" / "index"
    index.mkdir(parents=True)
    (index / "kinds_of_records.json").write_text(json.dumps({"format": 2, "records": []}))
    np.save(index / "record.npy", np.array([Bomb(made)], object), allow_pickle=True)
    with pytest.raises(InputError):
        Index.read(tmp_path / "set")
    assert not made.exists()
