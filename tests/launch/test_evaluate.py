"""launch/evaluate.py from its command line: the files it writes, numbers that follow from them, one line per fault."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from iadgpt_jax.alone import FILE as LOCK
from iadgpt_jax.alone import alone_in
from iadgpt_jax.checkpoint.workdir import save_model, write_model_files
from iadgpt_jax.data.ancestry import INFO_KEY, training_entry
from iadgpt_jax.data.images import read_mask, resize_mask
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.evaluate.measure import IMAGE_METRICS, PIXEL_METRICS, TEXT_METRICS
from iadgpt_jax.infer.inspector import Inspector
from iadgpt_jax.whole_file import write_whole
from launch import evaluate
from tests.data.photographs import draw_dataset
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
SIDE = 84
INFO = {"image_side": SIDE, "map_space": "probability"}


pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, and photographs of which one category's masks are complete and the other's are not."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_model(folder / "work", lively_params(small_config()), small_config(), tiny_tokenizer(), INFO)
    draw_dataset(folder / "data")
    mask = np.zeros((60, 90), np.uint8)
    mask[40:50, 10:70] = 255
    Image.fromarray(mask).save(folder / "data/bolt/ground_truth/bent_pin/002_mask.png")
    shutil.copytree(folder / "data", folder / "copy/data")
    return folder


def arguments(folder, *more):
    given = [f"--checkpoint={folder / 'work'}", f"--out={folder / 'out'}", *more]
    return given if any("--dataset" in one for one in more) else [f"--dataset={folder / 'data'}", *given]


@pytest.fixture(scope="module")
def written(folder):
    evaluate.main(arguments(folder, "--shots=2,1", "--seeds=2"))
    return [json.loads((folder / "out" / name).read_text()) for name in ("metrics.json", "protocol.json")]


@pytest.mark.slow
def test_metrics_have_the_fields_others_rely_on(written):
    metrics, _ = written
    assert metrics["seeds"] == 2 and metrics["step"] == 0 and metrics["side"] == SIDE and metrics["references"] == "own"
    assert list(metrics["shots"]) == ["1", "2"]
    for measured in metrics["shots"].values():
        for metric in ("image_auroc", "pixel_auroc"):
            assert set(measured[metric]) == {"mean", "std"} and 0 <= measured[metric]["mean"] <= 1
        assert list(measured["per_category"]) == ["bolt", "nut"]
        assert "pixel_auroc" in measured["per_category"]["bolt"], "every defect has its mask"
        assert set(measured["per_category"]["nut"]) == {*IMAGE_METRICS, *TEXT_METRICS}, "one lacks it"
        assert measured["pixel_auroc"]["mean"] == measured["per_category"]["bolt"]["pixel_auroc"]
        assert set(measured["per_category"]["bolt"]) == {*IMAGE_METRICS, *TEXT_METRICS, *PIXEL_METRICS}
    assert metrics["undefined"] == {"nut": dict.fromkeys(PIXEL_METRICS, "1 of 5 images are defective without a mask")}


@pytest.mark.slow
def test_the_protocol_is_enough_to_repeat_the_numbers(folder, written):
    """AUROCs by scikit-learn of single inspections of the files it names."""
    metrics, protocol = written
    assert len(protocol["draws"]) == 2 and protocol["references"] == "own"
    inspector = Inspector.load(folder / "work")
    queries = protocol["queries"]["bolt"]
    assert len(queries) == 5 and all(key.startswith("bolt/test/") for key in queries)
    labels = ["good" not in key for key in queries]
    masks = [mask_of(folder, key) for key in queries]
    image, pixel = [], []
    for draw in protocol["draws"]:
        references = draw["bolt"]
        assert len(set(references)) == 2 and all(key.startswith("bolt/train/good/") for key in references)
        results = inspector.inspect_many(
            [folder / "data" / key for key in queries], [folder / "data" / key for key in references], explain=False
        )
        image.append(roc_auc_score(labels, [result.score for result in results]))
        maps = [cv2.resize(result.map, (SIDE, SIDE)) for result in results]
        pixel.append(roc_auc_score(np.ravel(masks), np.ravel(maps)))
    found = metrics["shots"]["2"]["per_category"]["bolt"]
    assert found["image_auroc"] == pytest.approx(np.mean(image))
    assert found["pixel_auroc"] == pytest.approx(np.mean(pixel), abs=1e-4)  # rounding may swap nearly equal pixels


@pytest.mark.slow
def test_weights_laid_over_two_devices_change_nothing(folder, written):
    evaluate.main(arguments(folder, "--shots=1,2", "--seeds=2", "--fsdp=2", f"--out={folder / 'split'}"))
    split, alone = json.loads((folder / "split/metrics.json").read_text())["shots"], written[0]["shots"]
    for shots, metric in ((shots, metric) for shots in alone for metric in ("image_auroc", "pixel_auroc")):
        # Rounding may swap nearly equal scores: one pair of images, or some of pixels.
        assert split[shots][metric]["mean"] == pytest.approx(alone[shots][metric]["mean"], abs=1e-3)


def mask_of(folder, key: str) -> np.ndarray:
    if "good" in key:
        return np.zeros((SIDE, SIDE), np.uint8)
    name = key.replace("/test/", "/ground_truth/").replace(".png", "_mask.png")
    return resize_mask(read_mask(folder / "data" / name), (SIDE, SIDE), "nearest")


@pytest.fixture(scope="module")
def trained(folder):
    """The same checkpoint, which says that a stage was trained on the category bolt."""
    entry = training_entry(2, FolderSource(folder / "data"), ["bolt"])
    shutil.copytree(folder / "work", folder / "trained")
    write_model_files(folder / "trained", small_config(), tiny_tokenizer(), INFO | {"stage": 3, INFO_KEY: [entry]})
    return folder / "trained"


def test_what_a_stage_was_trained_on_is_refused_before_weights_are_loaded(folder, trained, capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments(folder, f"--checkpoint={trained}", "--shots=1"))
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and not any("loading" in line for line in lines)
    (error,) = (line for line in lines if line.startswith("error: "))
    assert "was trained on bolt (stage 2)" in error and "--allow_trained" in error


@pytest.mark.slow
def test_results_say_what_was_trained_on(folder, trained, capsys):
    asked = ("--shots=1", "--seeds=1", f"--checkpoint={trained}", f"--out={folder / 'told'}")
    evaluate.main(arguments(folder, *asked, "--categories=bolt", "--allow_trained"))
    metrics = json.loads((folder / "told/metrics.json").read_text())
    assert metrics["allow_trained"] is True and metrics["trained_on"] == {"bolt": "stage 2"}
    assert "not few-shot results, for the model was trained on bolt (stage 2)" in capsys.readouterr().out


@pytest.mark.slow
def test_without_references_the_number_of_shots_changes_nothing(folder, capsys):
    asked = ("--references=none", "--categories=nut", f"--out={folder / 'none'}")
    evaluate.main(arguments(folder, "--shots=1,2", "--seeds=1", *asked))
    metrics, protocol = (json.loads((folder / "none" / f"{name}.json").read_text()) for name in ("metrics", "protocol"))
    assert metrics["shots"]["1"] == metrics["shots"]["2"] and protocol["draws"] == [{"nut": []}]
    said = capsys.readouterr().out
    assert "a control, references: none" in said and "0 references" in said and "1 reference" not in said
    page = (folder / "none/report.html").read_text()
    assert "with 0 references" in page and "1 reference" not in page and "2 references" not in page


@pytest.mark.parametrize(
    "change, told",
    [
        (["--dataset=nowhere"], "no such dataset: nowhere"),
        (["--dataset={folder}/work"], "no images in MVTec layout"),
        (["--dataset=procedural:test"], "no split test"),
        (["--checkpoint=nowhere"], "no checkpoint at nowhere"),
        (["--checkpoint={folder}/data"], "is no checkpoint"),
        (["--categories=gear"], "no category gear; it has bolt, nut"),
        (["--fsdp=9"], "--fsdp=9: choose from 1 to the 8 devices of this machine"),
        (["--shots=9"], "bolt of data cannot be evaluated at 9 shots"),
        (["--shots=one"], "--shots=one"),
        (["--shots=0"], "--shots=0"),
        (["--seeds=0"], "--seeds=0"),
        (["--ratio=1,0"], "--ratio=1,0"),
        (["--smoothing=-1"], "--smoothing=-1"),
        (["--from={folder}/data"], "--checkpoint has no effect: --from computes metrics again where they are"),
        (["--references_list=nowhere"], "--references_list=nowhere cannot be read"),
        (
            ["--references_list=visa"],
            "--references_list=visa does not fit: the reference list visa has no category bolt",
        ),
        (["--dataset={folder}/data", "--dataset={folder}/copy/data"], "are both called data"),
        (["--references=other"], "--references"),
        (["--side=100"], "multiple of 28"),
        (["--out={folder}/data/bolt/train/good/000.png"], "--out"),
        (["--brightness=3"], "no such flag: --brightness"),
    ],
)
def test_wrong_input_ends_with_one_line(folder, capsys, change, told):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments(folder, "--shots=1", *(c.format(folder=folder) for c in change)))
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "images to inspect" not in line and "loading" not in line]
    assert stopped.value.code == 2 and captured.out == ""
    assert len(lines) == 1 and lines[0].startswith("error: ") and told in lines[0]


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--from={folder}/data"], "holds no raw results"),
        (["--from=x", "--shots=1"], "--shots has no effect"),
        ([], "--checkpoint is missing"),
    ],
)
def test_flags_that_do_not_go_together_end_with_one_line(folder, capsys, flags, told):
    with pytest.raises(SystemExit):
        evaluate.main([flag.format(folder=folder) for flag in flags])
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


def ended_with_one_line(capsys, *flags) -> str:
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(list(flags))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(errors) == 1
    return errors[0]


def test_two_evaluations_do_not_write_into_one_folder(folder, capsys, tmp_path):
    with alone_in(tmp_path, "evaluating", "choose another"):
        error = ended_with_one_line(capsys, *arguments(folder, "--shots=1", f"--out={tmp_path}"))
    assert f"another process is evaluating into {tmp_path}" in error


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: write_whole(tmp_path / "metrics.json", "long"))
    monkeypatch.setattr("os.fsync", full)
    error = ended_with_one_line(capsys, *arguments(folder, "--shots=1", f"--out={tmp_path}"))
    assert "No space left on device; make room, or choose another --out. The same command goes on" in error
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
def test_metrics_again_without_a_model_are_the_same(folder, written):
    """In a process that has not loaded JAX, from raw/ alone; and ranked by the map, from the same files."""
    shutil.copytree(folder / "out", folder / "again")
    (folder / "again/metrics.json").unlink()
    without_a_model(f"--from={folder / 'again'}")
    assert (folder / "again/metrics.json").read_bytes() == (folder / "out/metrics.json").read_bytes()
    without_a_model(f"--from={folder / 'again'}", "--image_score=both", "--smoothing=2")
    other = json.loads((folder / "again/metrics.json").read_text())
    assert other["image_score"] == "both" and other["smoothing"] == 2
    of_both, of_answer = (one["shots"]["2"]["per_category"]["bolt"] for one in (other, written[0]))
    assert of_both["pixel_auroc"] != of_answer["pixel_auroc"] and of_both["text_accuracy"] == of_answer["text_accuracy"]


@pytest.mark.slow
def test_the_report_shows_photographs_and_says_where_they_are_not_at_hand(folder, written, capsys):
    """References, query and mask of a card beside its map; where the dataset was moved away, the map alone."""
    shown = (folder / "out/report.html").read_text()
    assert "data:image/jpeg" in shown and "not at hand" not in shown
    assert (folder / "out/tables/headline.csv").is_file() and (folder / "out/tables/categories.tex").is_file()
    shutil.copytree(folder / "out", folder / "moved")
    (folder / "data").rename(folder / "elsewhere")
    try:
        evaluate.main([f"--from={folder / 'moved'}"])
    finally:
        (folder / "elsewhere").rename(folder / "data")
    assert "goes without photographs: no such dataset" in capsys.readouterr().err
    assert "The dataset was not at hand" in (folder / "moved/report.html").read_text()


def without_a_model(*flags: str) -> None:
    code = "import sys; from launch.evaluate import main; main(sys.argv[1:]); assert 'jax' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr


def tree(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_an_evaluation_goes_on_with_what_is_missing(folder, written, capsys):
    """With the files of an undisturbed run. Other settings are refused before weights are loaded."""
    shutil.copytree(folder / "out", folder / "resumed")
    for name in ("draw-0/bolt.npz", "queries/nut.npz"):
        (folder / "resumed/raw" / name).unlink()
    evaluate.main(arguments(folder, "--shots=1,2", "--seeds=2", f"--out={folder / 'resumed'}"))
    assert "going on with" in capsys.readouterr().err
    assert tree(folder / "resumed") == tree(folder / "out")
    with pytest.raises(SystemExit):
        evaluate.main(arguments(folder, "--shots=1,2", "--seeds=2", "--ratio=.5", f"--out={folder / 'resumed'}"))
    error = capsys.readouterr().err
    assert "holds results of other settings (ratio 1.0, now 0.5)" in error and "loading" not in error


@pytest.mark.slow
def test_several_datasets_and_ratios_have_a_folder_each(folder, written):
    """A dataset alone gives the same numbers in a folder of its own."""
    (folder / "copy/data").rename(folder / "copy/parts")
    out, both = folder / "several", f"--dataset={folder / 'data'},{folder / 'copy/parts'}"
    evaluate.main(arguments(folder, both, "--ratio=1,0.5", "--shots=1,2", "--seeds=2", f"--out={out}"))
    (folder / "copy/parts").rename(folder / "copy/data")
    assert json.loads((out / "data/ratio-1/metrics.json").read_text())["shots"] == written[0]["shots"]
    evaluations = json.loads((out / "summary.json").read_text())["evaluations"]
    assert [one["directory"] for one in evaluations] == [
        "data/ratio-1", "data/ratio-0.5", "parts/ratio-1", "parts/ratio-0.5",
    ]  # fmt: skip
    index = (out / "index.html").read_text()
    for one in evaluations:
        metrics = json.loads((out / one["directory"] / "metrics.json").read_text())
        assert metrics["ratio"] == one["ratio"]
        assert f'href="{one["directory"]}/report.html"' in index and (out / one["directory"] / "report.html").is_file()
        assert metrics["shots"]["2"]["image_auroc"] == one["shots"]["2"]["image_auroc"]


@pytest.mark.slow
def test_two_processes_give_the_files_of_one(folder, written):
    """To the bit: margins and maps do not depend on what else is scored where."""
    command = ["launch/evaluate.py", *arguments(folder, "--shots=1,2", "--seeds=2", f"--out={folder / 'together'}")]
    start = [sys.executable, "launch/local.py", "--processes=2", "--devices=1", "--", *command]
    ended = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("images to inspect") == 1 and "[1] scoring" not in ended.stderr, "one process speaks"
    together, alone = tree(folder / "together"), tree(folder / "out")
    assert together == alone
