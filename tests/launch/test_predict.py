"""launch/predict.py from its command line: what it prints and writes, and its one line for every wrong input."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.verdict_picture import LEAST
from iadgpt_jax.infer.inspector import Inspector
from iadgpt_jax.infer.product_file import open_product
from launch import predict
from tests.evaluate.test_heatmap import read_back
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("quick_compilation")
INFO = {"image_side": 84, "map_space": "probability"}


pytestmark = pytest.mark.usefixtures("quick_compilation")


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


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_results_on_the_screen_as_json_and_as_pictures(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    predict.main(arguments(folder))
    text = capsys.readouterr().out
    predict.main(arguments(folder, f"--query={folder / 'other' / 'part.jpg'}", "--json", "--out=elsewhere"))
    printed = capsys.readouterr().out
    told = lines_of(printed)  # nothing but JSON, an object a line
    assert (tmp_path / "elsewhere/results.jsonl").read_text() == printed

    references = [folder / "good_0.png", folder / "good_1.png"]
    wanted = Inspector.load(folder / "work").inspect(folder / "part.png", references)
    assert abs(told[0]["score"] - wanted.score) < 1e-5 and told[0]["answer"] == wanted.answer
    assert told[0]["defective"] is (wanted.answer == "No") and told[0]["threshold"] == 0.5
    assert told[0]["explanation"] == wanted.explanation and f"score {wanted.score:.3f}" in text
    assert [told[0]["map"], told[1]["map"]] == ["elsewhere/part_map.png", "elsewhere/other_part_map.png"]
    assert (tmp_path / "predictions" / "part_map.png").is_file()
    map_ = read_back(tmp_path / told[0]["map"])
    with Image.open(tmp_path / told[0]["map"]) as image:
        step = (float(image.info["high"]) - float(image.info["low"])) / 65535
    np.testing.assert_allclose(map_, wanted.pixel_map, atol=step + 1e-6)
    with Image.open(tmp_path / told[0]["overlay"]) as image:
        assert image.width == LEAST and image.height > LEAST * 60 / 90  # enlarged, and a strip beneath


def test_one_query_needs_no_reference(folder, tmp_path, capsys):
    predict.main(
        [f"--checkpoint={folder / 'work'}", f"--query={folder / 'part.png'}", "--json", f"--out={tmp_path / 'a' / 'b'}"]
    )
    captured = capsys.readouterr()
    assert Path(json.loads(captured.out)["overlay"]).is_file() and "no references: hardly a defect" in captured.err


def test_a_folder_is_inspected_whatever_lies_in_it_and_ends_in_a_page_and_a_table(folder, tmp_path, capsys):
    """What one damaged file costs is its own line, and the exit status."""
    parts = tmp_path / "parts"
    for name in ("b/part.png", "a/part.png"):
        (parts / name).parent.mkdir(parents=True)
        shutil.copy(folder / "part.png", parts / name)
    shutil.copy(folder / "cut.png", parts / "cut.png")
    (parts / "notes.txt").write_text("not a photograph, and not taken for one")
    with pytest.raises(SystemExit) as stopped:
        predict.main(
            [f"--checkpoint={folder / 'work'}", f"--reference={folder / 'good_*.png'}", f"--query={parts}", "--json",
             "--no_explanation", f"--out={tmp_path / 'out'}"]
        )  # fmt: skip
    captured = capsys.readouterr()
    told = lines_of(captured.out)
    assert stopped.value.code == 1 and "1 photograph of 3 could not be inspected" in captured.err
    assert [Path(one["query"]).relative_to(parts).as_posix() for one in told] == ["a/part.png", "b/part.png", "cut.png"]
    assert "cut.png" in told[2]["error"] and told[0]["margin"] == pytest.approx(told[1]["margin"], abs=1e-4)
    assert Path(told[1]["overlay"]).name == "b_part_overlay.png"
    with (tmp_path / "out/results.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 3 and {row["query"] for row in rows} == {one["query"] for one in told}
    page = (tmp_path / "out/index.html").read_text()
    assert "of 2 parts defective" in page and 'src="b_part_overlay.png"' in page and "cut.png" in page


def test_pictures_of_an_earlier_inspection_are_no_parts(folder, tmp_path, capsys):
    shutil.copy(folder / "part.png", tmp_path / "part.png")
    given = [f"--checkpoint={folder / 'work'}", f"--query={tmp_path}", f"--out={tmp_path / 'out'}", "--json",
             "--no_explanation"]  # fmt: skip
    for _ in range(2):
        predict.main(given)
        assert len(lines_of(capsys.readouterr().out)) == 1
    with pytest.raises(SystemExit):
        predict.main([given[0], f"--query={tmp_path / 'out'}", f"--out={tmp_path / 'out'}"])
    assert "earlier inspections" in capsys.readouterr().err


def test_good_parts_choose_the_threshold_that_a_product_keeps(folder, tmp_path, capsys):
    """The threshold is the margin that leave-one-out finds; the saved product gives the same verdicts."""
    product = tmp_path / "parts.zip"
    flags = [f"--checkpoint={folder / 'work'}", f"--query={folder / 'part.png'}", "--json", "--no_explanation"]
    predict.main(
        [*flags, f"--reference={folder / 'good_0.png'}", f"--reference={folder / 'good_1.png'}", "--shots=1",
         "--good_share=.6", f"--save_product={product}", f"--out={tmp_path / 'first'}"]
    )  # fmt: skip
    captured = capsys.readouterr()
    first = json.loads(captured.out)
    inspector = Inspector.load(folder / "work")
    good = inspector.inspect(folder / "good_1.png", [folder / "good_0.png"], explain=False)
    assert first["threshold"] == pytest.approx(good.score, abs=1e-5)
    assert first["defective"] is (first["score"] > first["threshold"])
    assert "60% of good parts stay below, by 1 good parts (they can vouch for 50%)" in captured.err
    predict.main([*flags, f"--product={product}", f"--out={tmp_path / 'again'}"])
    again = json.loads(capsys.readouterr().out)
    assert {**again, "map": "", "overlay": ""} == {**first, "map": "", "overlay": ""}
    kept = tmp_path / "m8.5"
    predict.main([*flags, f"--product={product}", f"--save_product={kept}", f"--out={tmp_path / 'again'}"])
    assert open_product(product).name == "parts" and open_product(kept).name == "m8.5"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        predict.main([*flags, f"--product={product}", "--prompt=defects", f"--out={tmp_path / 'other'}"])
    assert "margins of two prompts do not compare" in capsys.readouterr().err


def test_quiet_prints_results_alone_and_a_ratio_without_effect_is_told(folder, tmp_path, capsys):
    flags = [f"--checkpoint={folder / 'work'}", f"--query={folder / 'part.png'}", f"--out={tmp_path}", "--quiet"]
    predict.main([*flags, f"--reference={folder / 'good_0.png'}", "--no_explanation", "--ratio=.5"])
    captured = capsys.readouterr()
    (warning,) = captured.err.splitlines()
    assert warning.startswith("warning: --ratio=0.5 has no effect with one reference")
    assert "part.png: " in captured.out


@pytest.mark.parametrize(
    "change, told",
    [
        (["--query=nowhere.png"], "no such image: nowhere.png"),
        (["--query={folder}/notes.txt"], "notes.txt is not an image"),
        (["--reference={folder}/cut.png"], "cut.png"),
        (["--reference={folder}/work"], "no photograph there"),
        (["--query={folder}/*.gif"], "no photograph there"),
        (["--good_share=2"], "the share of good parts that shall pass is 2.0"),
        (["--threshold=1"], "--threshold=1.0"),
        (["--threshold=.5", "--good_share=.9"], "leave one out"),
        (["--product={folder}/nowhere"], "leave out --reference"),
        (["--product={folder}/nowhere", "--shots=4"], "leave out --reference, --shots"),
        (["--save_product={folder}/new"], "--good_share"),
        (["--save_product={folder}/.new", "--good_share=.9"], "cannot be a product's name"),
        (["--save_product={folder}/new", "--good={folder}/part.png", "--threshold=.2"], "--threshold: leave one"),
        (["--save_product={folder}/new!.zip", "--good_share=.5"], "'new!' cannot be a product's name"),
        (["--checkpoint=nowhere"], "no checkpoint at nowhere"),
        (["--checkpoint={folder}/other"], "is no checkpoint"),
        (["--checkpoint={folder}/part.png"], "is a file"),
        (["--out={folder}/notes.txt"], "--out"),
        (["--ratio=much"], "--ratio"),
        (["--ratio=0"], "ratio is 0.0"),
        (["--side=100"], "multiple of 28"),
        (["--brightness=3"], "no such flag: --brightness; see --help"),
        (["--querry=a.png"], "no such flag: --querry; did you mean --query?"),
    ],
)
def test_wrong_input_ends_with_one_line(folder, capsys, change, told):
    with pytest.raises(SystemExit) as stopped:
        predict.main(arguments(folder, *(c.format(folder=folder) for c in change)))
    captured = capsys.readouterr()
    error = [line for line in captured.err.splitlines() if not line.startswith("loading ")]
    assert stopped.value.code == 2 and captured.out == ""
    assert len(error) == 1 and error[0].startswith("error: ") and told in error[0]


def test_more_references_than_a_threshold_is_chosen_with_are_refused_before_the_model_is_loaded():
    with pytest.raises(InputError, match="--shots makes 17 references"):
        predict.check_measurable([np.zeros((28, 28, 3), np.uint8)] * 17)


def test_a_missing_flag_or_file_is_told_before_jax_is_loaded(folder):
    script = (
        "import sys; sys.argv = ['predict.py', *sys.argv[1:]]\n"
        "from launch.predict import main\n"
        "try: main()\n"
        "finally: print('jax' in sys.modules)\n"
    )
    for flags in (
        ["--checkpoint=x"],
        [f"--query={folder / 'part.png'}"],
        arguments(folder, "--query=nowhere.png"),
        arguments(folder, "--checkpoint=x"),
        arguments(folder, "--good_share=.9", "--save_product=/"),
        [*arguments(folder)[::3], f"--good={folder / 'part.png'}", f"--good={folder / 'good_0.png'}"],
    ):
        run = subprocess.run([sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 2 and run.stdout == "False\n" and run.stderr.count("\n") == 1
