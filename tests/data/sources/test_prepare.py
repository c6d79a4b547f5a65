"""A preparation stopped anywhere and started again ends with the bytes of an undisturbed one, whoever writes."""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data.sources import plan, prepare, shards
from iadgpt_jax.data.sources.prepare import Request, Runner
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from tests.data.sources import trees

ROOT = Path(__file__).resolve().parents[3]
ONE = Runner()
COMMAND = [sys.executable, "tools/prepare_data.py", "--dataset=folder", "--side=28"]


class Stopped(BaseException):
    """Stands for a process that is killed."""


def contents(directory: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its bytes."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def quietly(request: Request, runner: Runner = ONE) -> list[str]:
    said = []
    prepare.prepare(request, runner, say=said.append)
    return said


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(plan, "SHARD_EXAMPLES", 3)


@pytest.fixture
def source(tmp_path):
    """Ten images, one of them broken, a mask of another size, a stray file, and words: four shards of at most three."""
    drawn = trees.draw("folder", tmp_path / "parts")
    (tmp_path / "parts" / drawn.good).write_text("broken")
    trees.mask(tmp_path / "parts" / drawn.mask, high=20)
    (tmp_path / "parts/notes.txt").write_text("stray")
    (tmp_path / "parts/words.jsonl").write_text('{"key": "bolt", "captions": ["Round.", "Steel.", "Smooth."]}\n')
    return tmp_path / "parts"


@pytest.fixture
def undisturbed(source, tmp_path):
    request = Request("folder", source, tmp_path / "undisturbed")
    quietly(request)
    return contents(request.out)


# Where a preparation may be stopped: (module, name) of a function, called before or after the stop.
PLACES = [
    (plan, "_stamp"),
    (prepare.plans, "remember"),
    (shards, "load_entry"),
    (shards, "make_example"),
    (shards, "_rename"),
    (prepare, "read_rows"),
    (prepare, "_write_tfds_info"),
    (prepare, "write_index"),
    (prepare, "draw_sheet"),
    (prepare.shutil, "rmtree"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("module", "name"), PLACES, ids=[name for _, name in PLACES])
def test_stopped_anywhere_it_ends_with_the_same_bytes(module, name, after, source, undisturbed, tmp_path, monkeypatch):
    request, stops = Request("folder", source, tmp_path / "out"), 0
    for count in (1, 2, 4):  # stopped at the first, then two, then four calls further
        with monkeypatch.context() as patch:
            patch.setattr(module, name, _stopping(getattr(module, name), count, after))
            try:
                quietly(request)
            except Stopped:
                stops += 1
            else:
                break
    if not request.out.exists() or request.work.exists():
        quietly(request)
    assert stops and contents(request.out) == undisturbed and not request.work.exists()


def _stopping(function, count, after):
    """The function, which stops the process at its `count`-th call, before or after its work."""
    calls = []

    def stop(*arguments, **named):
        calls.append(name := None)
        if len(calls) == count and not after:
            raise Stopped(name)
        result = function(*arguments, **named)
        if len(calls) == count:
            raise Stopped(name)
        return result

    return stop


def test_what_is_there_is_not_written_again(source, undisturbed, tmp_path, monkeypatch):
    request = Request("folder", source, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_index", _stopping(prepare.write_index, 1, after=False))
        with pytest.raises(Stopped):
            quietly(request)
    monkeypatch.setattr(shards, "load_entry", _stopping(shards.load_entry, 1, after=False))  # not one is read
    assert any("going on: 4 of 4 shards are there" in line for line in quietly(request))
    assert contents(request.out) == undisturbed


def test_a_source_that_changed_meanwhile_starts_again(source, tmp_path, monkeypatch):
    request = Request("folder", source, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_index", _stopping(prepare.write_index, 1, after=False))
        with pytest.raises(Stopped):
            quietly(request)
    trees.image(source / "bolt/train/good/000.png", seed=7)
    assert any("starting again" in line for line in quietly(request))
    fresh = Request("folder", source, tmp_path / "fresh")
    quietly(fresh)
    assert contents(request.out) == contents(fresh.out)


def test_beam_writes_the_same_bytes(source, undisturbed, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is optional: pip install apache-beam")
    request = Request("folder", source, tmp_path / "out")
    quietly(request, Runner(processes=2, beam=True))
    assert contents(request.out) == undisturbed


def test_beam_that_is_not_installed_is_one_line(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match="pip install apache-beam"):
        quietly(Request("folder", source, tmp_path / "out"), Runner(beam=True))


def test_an_output_is_prepared_by_one_process_at_a_time(source, tmp_path):
    request = Request("folder", source, tmp_path / "out")
    with prepare._locked(request), pytest.raises(InputError, match="another process is preparing"):
        quietly(request)


def test_an_output_inside_its_source_is_no_part_of_it(source, undisturbed):
    request = Request("folder", source, source / "prepared")
    quietly(request)
    assert contents(request.out) == undisturbed


def test_a_killed_process_leaves_nothing_that_a_new_one_minds(source, tmp_path):
    """And two processes write what one writes."""
    out, work = tmp_path / "out", tmp_path / ".out.unfinished"

    def command(to: Path, processes: int) -> list[str]:
        return [*COMMAND, f"--source={source}", f"--out={to}", f"--processes={processes}"]

    subprocess.run(command(tmp_path / "whole", 2), cwd=ROOT, check=True, capture_output=True)
    running = subprocess.Popen(command(out, 1), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not work.exists() and running.poll() is None:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.5))
    running.kill()
    running.wait()
    if not out.exists() or work.exists():
        subprocess.run(command(out, 1), cwd=ROOT, check=True, capture_output=True)
    assert contents(out) == contents(tmp_path / "whole")
    assert len(PreparedSource(out)) == 9 and not work.exists()


def test_the_picture_sheet_has_a_row_for_every_category(source, tmp_path):
    request = Request("folder", source, tmp_path / "out")
    quietly(request)
    sheet = np.asarray(Image.open(request.out / prepare.SHEET_FILE))
    assert sheet.shape == (2 * (112 + 4), 150 + (12 + 2 * 4) + (12 + 4 * 4) + 8 * 112, 3)
    outlined = (sheet[..., 0].astype(int) - sheet[..., 1] > 150).reshape(2, 116, -1).sum(axis=(1, 2))
    assert (outlined > 50).all()  # both categories have a defect whose mask is drawn


def test_a_shard_is_full_at_so_many_bytes_of_files(source, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_BYTES", 1)  # every image alone
    request = Request("folder", source, tmp_path / "out")
    quietly(request)
    assert len(list(request.out.glob("*.array_record-*"))) == 10
    assert len(PreparedSource(request.out)) == 9  # one shard is empty: its image is broken
    assert PreparedSource(request.out)[8].image.shape == (trees.HIGH, trees.WIDE, 3)
