"""launch/predict.py from its command line: what it prints and writes, and its one line for every wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.infer.inspector import Inspector
from launch import predict
from tests.evaluate.test_heatmap import read_back
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
INFO = {"image_side": 84, "map_space": "probability"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and four photographs, two of them queries of the same name."""
    folder = tmp_path_factory.mktemp("predict")
    save_model(folder / "work", lively_params(small_config()), small_config(), tiny_tokenizer(), INFO)
    rng = np.random.default_rng(0)
    for name in ("good_0.png", "good_1.png", "part.png", "other/part.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    (folder / "cut.png").write_bytes((folder / "part.png").read_bytes()[:500])
    return folder


def arguments(folder, *more):
    references = [f"--reference={folder / name}" for name in ("good_0.png", "good_1.png")]
    return [f"--checkpoint={folder / 'work'}", *references, f"--query={folder / 'part.png'}", *more]


def test_results_on_the_screen_as_json_and_as_pictures(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    predict.main(arguments(folder))
    text = capsys.readouterr().out
    predict.main(arguments(folder, f"--query={folder / 'other' / 'part.jpg'}", "--json", "--out=elsewhere"))
    told = json.loads(capsys.readouterr().out)  # nothing but JSON

    references = [folder / "good_0.png", folder / "good_1.png"]
    wanted = Inspector.load(folder / "work").inspect(folder / "part.png", references)
    assert {"score", "answer", "explanation", "map", "overlay"} <= told[0].keys()
    assert abs(told[0]["score"] - wanted.score) < 1e-5 and told[0]["answer"] == wanted.answer
    assert told[0]["explanation"] == wanted.explanation and f"score {wanted.score:.3f}" in text
    assert [told[0]["map"], told[1]["map"]] == ["elsewhere/part_map.png", "elsewhere/part_2_map.png"]
    assert (tmp_path / "predictions" / "part_map.png").is_file()
    map_ = read_back(tmp_path / told[0]["map"])
    with Image.open(tmp_path / told[0]["map"]) as image:
        step = (float(image.info["high"]) - float(image.info["low"])) / 65535
    np.testing.assert_allclose(map_, wanted.pixel_map, atol=step + 1e-6)
    assert Image.open(tmp_path / told[0]["overlay"]).size == (90, 60)


def test_one_query_is_an_object_and_needs_no_reference(folder, tmp_path, capsys):
    predict.main(
        [f"--checkpoint={folder / 'work'}", f"--query={folder / 'part.png'}", "--json", f"--out={tmp_path / 'a' / 'b'}"]
    )
    assert Path(json.loads(capsys.readouterr().out)["overlay"]).is_file()


@pytest.mark.parametrize(
    "change, told",
    [
        (["--query=nowhere.png"], "no such image: nowhere.png"),
        (["--query={folder}/notes.txt"], "notes.txt is not an image"),
        (["--reference={folder}/cut.png"], "cut.png"),
        (["--reference={folder}"], "is a folder"),
        (["--checkpoint=nowhere"], "no checkpoint at nowhere"),
        (["--checkpoint={folder}/other"], "is no checkpoint"),
        (["--checkpoint={folder}/part.png"], "is a file"),
        (["--out={folder}/notes.txt"], "--out"),
        (["--ratio=much"], "--ratio"),
        (["--ratio=0"], "ratio is 0.0"),
        (["--side=100"], "multiple of 28"),
        (["--brightness=3"], "unrecognized arguments"),
    ],
)
def test_wrong_input_ends_with_one_line(folder, capsys, change, told):
    with pytest.raises(SystemExit) as stopped:
        predict.main(arguments(folder, *(c.format(folder=folder) for c in change)))
    captured = capsys.readouterr()
    error = [line for line in captured.err.splitlines() if not line.startswith("loading ")]
    assert stopped.value.code == 2 and captured.out == ""
    assert len(error) == 1 and error[0].startswith("error: ") and told in error[0]


def test_a_missing_flag_or_file_is_told_before_jax_is_loaded(folder):
    script = (
        "import sys; sys.argv = ['predict.py', *sys.argv[1:]]\n"
        "from launch.predict import main\n"
        "try: main()\n"
        "finally: print('jax' in sys.modules)\n"
    )
    for flags in (["--checkpoint=x"], arguments(folder, "--query=nowhere.png"), arguments(folder, "--checkpoint=x")):
        run = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 2 and run.stdout == "False\n" and run.stderr.count("\n") == 1


def test_a_good_product_does_not_glow():
    """A query as calm as the good examples reaches half of the scale at most; a hot one spans it."""
    calm = [np.array([[1.0, 2.0, 1.0]]), np.array([[1.5, 1.0, 1.0]])]
    assert predict.scale([np.array([[1.2, 1.9]])], calm) == (1.0, 3.0)
    assert predict.scale([np.array([[0.5, 9.0]])], calm) == (1.0, 9.0)
    assert predict.scale([np.array([[0.0, 1.0, 5.0]])], []) == (1.0, 5.0)
