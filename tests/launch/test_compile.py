"""launch/compile.py: the step that training runs, compiled for a TPU slice nobody has; and wrong input is one line."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from iadgpt_jax.ahead import topology
from iadgpt_jax.ahead.roofline import crosses_slices
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import preset
from iadgpt_jax.sharding import ShardingRules, make_mesh
from iadgpt_jax.train.build import abstract_rows, build_training
from launch import tpu_table as table

ROOT = Path(__file__).parents[2]
WITH_LIBTPU = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def compile_py(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "launch/compile.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def compile_here(monkeypatch):
    """The same command in this process, where JAX is loaded already. An error leaves it as SystemExit."""
    if "launch.compile" not in sys.modules and "config" in flags.FLAGS:
        del flags.FLAGS.config  # launch/train.py's, defined alike: absl knows one flag of a name
    command = importlib.import_module("launch.compile")
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["launch/compile.py", *arguments])  # config_flags looks there, too
        command.main(command.parse_flags(sys.argv))

    with flagsaver.flagsaver():
        yield run


@pytest.mark.slow
@WITH_LIBTPU
def test_a_training_step_compiles_for_a_slice(tmp_path):
    """The tiny stage 1 on four chips of v5e: every promised field, and a table that says the same."""
    out = tmp_path / "deep" / "report.json"
    done = compile_py(
        "--config=configs/stage1.py:tiny", "--topology=v5e:2x2", f"--out={out}", "--config.mesh.fsdp=4",
        "--config.mesh.data=1", "--config.attention=xla", "--config.scan_unroll=False",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["fits"] and 0 < report["hbm_peak_bytes"] < report["hbm_capacity_bytes"] == 15.75 * 2**30
    assert report["devices"] == 4 and report["mesh"] == {"data": 1, "fsdp": 4, "tensor": 1}
    assert report["compile_seconds"] > 0
    assert 0.8 < report["compiled_flops"] / report["model_flops"] < 2, "float32, no rematerialisation"
    assert report["collectives"]["all-gather"]["count"] >= 8 and report["collectives"]["all-gather"]["bytes"] > 0
    assert not report["unknown_loops"] and not report["unknown_kernels"]
    assert "stage 1, tiny, train step on v5e:2x2 (4 devices)" in done.stdout
    assert "MFU" in done.stdout


@pytest.mark.slow
@WITH_LIBTPU
def test_scoring_compiles_for_a_slice(compile_here, tmp_path, capsys):
    """Eight queries on four chips against two references that were read before; the parameters travel."""
    out = tmp_path / "report.json"
    compile_here(
        "--config=configs/stage3.py:tiny", "--topology=v5e:2x2", f"--out={out}", "--config.mesh.fsdp=4", "--score",
        "--config.mesh.data=1", "--queries=2", "--shots=2",
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert (report["step"], report["rows"], report["shots"], report["images"]) == ("score", 8, 2, 1)
    assert 2 * 16 < report["prefix"] and 16 < report["slots"] < report["prefix"]
    assert 0.9 < report["flops_ratio"] < 1.5 and report["collectives"]["all-gather"]["bytes"] > 0
    assert not report["unknown_loops"] and not report["unknown_kernels"]
    assert "score step on v5e:2x2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "nothing to compile: pass --config"),
        (["--config=configs/stage3.py:tiny", "--topology=v5e:2x2", "extra"], "unknown arguments extra"),
        (["--config=configs/stage3.py:7b", "--topology=v5e"], "no slice 'v5e'"),
        (["--config=configs/stage3.py:7b", "--topology=v5p:2x2x4", "--score", "--queries=-1"], "at least one query"),
        (["--table", "--docs=nowhere.md"], "nowhere.md has no place for the tables"),
    ],
)
def test_wrong_input_is_one_line(compile_here, arguments, message, capfd):
    with pytest.raises(SystemExit) as ended:
        compile_here(*arguments)
    assert ended.value.code == 2
    said, errors = capfd.readouterr()
    assert not said and message in errors
    assert len(errors.strip().splitlines()) == 1


def test_wrong_input_is_one_line_in_a_process_of_its_own():
    """No library adds a line while it is loaded, and absl hands the status on."""
    done = compile_py("--config=configs/stage3.py:7b", "--topology=v5e")
    assert done.returncode == 2 and not done.stdout
    assert "no slice 'v5e'" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_topologies_are_refused_by_name(monkeypatch):
    with pytest.raises(InputError, match="'v5p' is not of the form v5e:4x4"):
        topology.slice_devices("v5p")
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs libtpu: pip install libtpu"):
        topology.slice_devices("v5e:4x4")


@WITH_LIBTPU
def test_slices_become_meshes():
    """Part of a torus dimension may be an axis; slices lie along data and nowhere else; 7x has two devices a chip."""
    topology.use_tpu_compiler()
    mesh = make_mesh(2, 32, 1, topology.slice_devices("v5e:8x8"))
    corners = {tuple(device.coords) for device in mesh.devices[0].flat}
    assert len(corners) == 32 and {y for _, y, _ in corners} | {x for x, _, _ in corners} == set(range(8))
    two = topology.slice_devices("v5p:2x2x4", 2)
    mesh = make_mesh(2, 16, 1, two)
    assert [{device.slice_index for device in part.flat} for part in mesh.devices] == [{0}, {1}]
    assert crosses_slices(mesh, ("data",)) and not crosses_slices(mesh, ("fsdp",))
    with pytest.raises(InputError, match="config.mesh.data=1 does not divide by 2 slices"):
        make_mesh(1, 32, 1, two)
    assert len(topology.slice_devices("tpu7x:2x2x2")) == 16
    with pytest.raises(InputError, match="libtpu knows no topology 'v9z:2x2'"):
        topology.slice_devices("v9z:2x2")


def test_what_is_compiled_is_what_training_builds():
    """The abstract state and rows are those of a first real step, leaf by leaf."""
    from configs import stage1

    config = stage1.get_config("tiny")
    mesh = make_mesh(1, 4, 1, jax.devices()[:4])
    training = build_training(config, preset("tiny"), mesh, ShardingRules())
    state = training.fresh(None)
    assert jax.tree.structure(state) == jax.tree.structure(training.state)
    for real, abstract in zip(jax.tree.leaves(state), jax.tree.leaves(training.state), strict=True):
        assert (real.shape, real.dtype) == (abstract.shape, abstract.dtype)
        assert real.sharding.is_equivalent_to(abstract.sharding, real.ndim)
    rows = abstract_rows(training.shape, config.rows, preset("tiny"), training.rows)
    assert rows.tokens.shape == (config.rows, config.row.slots)
    assert rows.patches.shape == (config.rows, config.row.images, config.row.patches, 588)


def test_the_table_resumes_and_writes_between_its_marks(tmp_path, monkeypatch):
    """A case with a report is not compiled again; one that does not fit says so in its row."""
    monkeypatch.setattr(table, "cases", lambda: [table.Case(3, "7b", "v5e:4x4"), table.Case(3, "7b", "v5p:2x2x4", 2)])
    compiled = []

    def run(command, **_):
        compiled.append(command)
        out = next(word for word in command if word.startswith("--out=")).removeprefix("--out=")
        Path(out).write_text(json.dumps(report(2, "v5p:2x2x4", fits=False)))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(table.subprocess, "run", run)
    reports, page = tmp_path / "reports", tmp_path / "tpu.md"
    reports.mkdir()
    (reports / "stage3-7b-v5e-4x4.json").write_text(json.dumps(report(1, "v5e:4x4", fits=True)))
    page.write_text(f"before\n{table.START}\nold\n{table.END}\nafter\n")
    table.write_table(Path("launch/compile.py"), reports, page)
    assert len(compiled) == 1 and "--topology=v5p:2x2x4" in compiled[0] and "--num_slices=2" in compiled[0]
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after") and "old" not in lines
    rows = [line for line in lines if line.startswith("| stage 3 | 7b")]
    assert len(rows) == 2 and len({row.count("|") for row in rows}) == 1
    assert "25%" in rows[0] and "does not fit" in rows[1] and "2 × v5p:2x2x4" in rows[1]
    table.write_table(Path("launch/compile.py"), reports, page)
    assert len(compiled) == 1 and page.read_text().splitlines() == lines


def report(slices: int, where: str, fits: bool) -> dict:
    """The fields a row is made of."""
    common = {
        "stage": 3, "size": "7b", "step": "train", "topology": where, "num_slices": slices, "rows": 16, "fits": fits,
        "mesh": {"data": 1, "fsdp": 16, "tensor": 1}, "remat": "full", "compile_seconds": 100.0,
        "hbm_peak_bytes": 12 * 2**30, "hbm_capacity_bytes": 16 * 2**30,
    }  # fmt: skip
    if not fits:
        return common
    bounds = {"step_seconds": 2.0, "limit": "arithmetic", "mfu": 0.7, "exposed_mfu": 0.6}
    return common | {
        "compiled_flops": 2e14, "flops_ratio": 1.3, "hidden_share": 0.9, "roofline": bounds,
        "collectives": {"all-gather": {"count": 1, "bytes": 2.0**30, "wire_bytes": 2.0**30, "hidden_bytes": 0.0}},
    }  # fmt: skip
