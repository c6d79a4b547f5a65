"""A path into a bucket is never taken for a local folder: every command says so in one line, and writes nothing."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest
from absl.testing import flagsaver

from iadgpt_jax.alone import alone_in
from iadgpt_jax.buckets import bucket_in, is_bucket
from iadgpt_jax.checkpoint.files import kind_of
from iadgpt_jax.checkpoint.lock import Lock, locked
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.errors import InputError
from iadgpt_jax.whole_file import write_whole

ROOT = Path(__file__).resolve().parents[1]
AT = "gs://a-bucket/x"

# Commands with a parser of argparse: one path each, in every way a path is given.
COMMANDS = {
    "launch.evaluate": ["--checkpoint=here", "--dataset=procedural:held_out", f"--out={AT}"],
    "launch.predict": ["--checkpoint=here", "--reference", "a.png", "--query", AT],
    "launch.sweep": ["--config=configs/sweeps/components.py", f"--workdir={AT}"],
    "launch.cluster.render": ["slurm", "--nodes=1", "--gpus=8", "--config=configs/stage3.py:tiny", f"--out={AT}"],
    "tools.convert_hf": ["import", "--hf=here", f"--out={AT}"],
    "tools.prepare_data": ["--dataset=mvtec_ad", "--source=s3://a-bucket/mvtec", "--out=out"],
    "tools.build_corpus": ["collect", f"--workdir={AT}"],
    "tools.random_checkpoint": [f"--out={AT}"],
    "tools.benchmark": ["loader", f"--out={AT}"],
}
CONFIGURED = (  # launch/train.py, whose flags are absl's
    "--workdir=s3://a-bucket/x", f"--config.source={AT}", f"--config.sources.a.path={AT}",
    "--config.init_from=s3://a-bucket/x",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


def assert_refused(errors: str) -> None:
    (line,) = errors.splitlines()
    assert line.startswith("error: ") and "-bucket/" in line and "is in a bucket" in line and "mount" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_a_bucket_before_it_begins(name, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main(COMMANDS[name])
    assert ended.value.code == 2
    assert_refused(capsys.readouterr().err)


@pytest.mark.parametrize("word", CONFIGURED)
def test_a_configuration_refuses_a_bucket(word, capsys, monkeypatch):
    train = importlib.import_module("launch.train")
    monkeypatch.setattr(sys, "argv", ["train.py", f"--config={ROOT}/configs/stage3.py:tiny", "--workdir=run", word])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        train.parse_flags(sys.argv)
    assert ended.value.code == 2
    assert_refused(capsys.readouterr().err)


def test_every_command_reads_its_flags_where_buckets_are_refused():
    """argparse's own parser and absl's own would let them through."""
    scripts = [path for folder in ("launch", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert len(scripts) > 20
    for path in scripts:
        tree = ast.parse(path.read_text())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert "argparse.ArgumentParser" not in called, path
        if any(name.startswith("flags.DEFINE") for name in called):
            assert "parse" in called, path


def test_what_can_work_in_a_bucket_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for path in (AT, Path(AT)):
        with pytest.raises(InputError, match=r'gs://a-bucket/x needs gcsfs: pip install "iadgpt_jax\[cloud\]"'):
            kind_of(path)
        with pytest.raises(InputError, match="needs gcsfs"):
            Lock(path)


@pytest.mark.parametrize("path", [AT, "gs:/a-bucket/x", "s3://a-bucket", "GS://a-bucket/x", Path(AT)])
def test_what_opens_or_writes_a_path_refuses_a_bucket(path):
    for use in (
        lambda path: kind_of(str(path).replace("gs", "s3").replace("GS", "s3")),
        lambda path: open_source(str(path), side=None),
        lambda path: locked(path).__enter__(),
        lambda path: alone_in(Path(path), "at work", "wait").__enter__(),
    ):
        with pytest.raises(InputError, match=r"-bucket\S* is in a bucket"):
            use(path)
    with pytest.raises(OSError, match="a bucket is no folder"):
        write_whole(path, "text")


def test_only_buckets_are_refused():
    for path in ("gs", "./gs:/x", "/a/gs:/x", "hf://owner/name", "http://localhost:1", "mvtec_ad:/data", "args:/x"):
        assert not is_bucket(path)
        assert bucket_in([f"--out={path}", "--out", path, path]) is None
    assert bucket_in(["--shots=1,2", "--dataset", f"procedural,{AT}"]) == ("dataset", AT)
    assert bucket_in(["--config.leakage.evaluation=('a', 'gs://b/c')"]) is not None
    assert bucket_in([f"--workdir={AT}", f"--out={AT}"], allowed=("workdir",)) == ("out", AT)
    assert bucket_in(["--workdir=s3://a/b"], allowed=("workdir",)) == ("workdir", "s3://a/b")
