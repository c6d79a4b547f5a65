"""tools/benchmark.py at its smallest size: both sides compute the same, and records have the agreed form."""

from __future__ import annotations

import dataclasses
import gc
import json
import platform

import numpy as np
import pytest
import torch

from iadgpt_jax.data.pack import pack
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.losses import LossWeights, map_loss
from tests.small_iadgpt import small_config
from tools import benchmark
from tools.benchmarks import caching, curves, generate, loader, measure, score
from tools.benchmarks.pair import Pair
from tools.benchmarks.train_torch import map_loss as torch_map_loss

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Pair:
    """A small model with scanned layers: written out, as for measuring, a step of "tiny" compiles for a minute."""
    pair = Pair(small_config(), 112, tmp_path_factory.mktemp("pair"))
    pair.model = pair.model.clone(unroll=False)
    return pair


@pytest.fixture
def little_work(monkeypatch):
    """As few queries, tokens and photographs as still make batches: what is measured for minutes is here only run."""
    for module, name, value in (
        (score, "QUERIES", 4), (score, "AT_ONCE", 4), (caching, "QUERIES", 4), (generate, "NEW", 8),
        (loader, "PHOTOGRAPHS", 16),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


MORE = ("train", "sharing", "caching")  # of the same programs as train_shared and score, in other shapes
RECORDS = [
    pytest.param(name, marks=[pytest.mark.nightly] if name in MORE else [])
    for name in (*benchmark.NAMES, *benchmark.WITHIN)
]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.usefixtures("little_work")
def test_both_sides_agree_and_the_record_has_its_fields(pair, name):
    """`measure` refuses sides that disagree; the bounds are those of float32, and 0 for tokens and weights."""
    measurement = benchmark.prepare(name)(pair)
    assert max(bound for _, bound in measurement.agreement.values()) <= 1e-3
    record = json.loads(json.dumps(measure.measure(measurement, 1)))
    assert record["name"] == name and record["unit"].split()[0] in measure.UNITS
    ours, peer, ratio = record["ours"]["median"], record["peer"]["median"], record["ratio"]
    assert ours > 0 and peer > 0 and ratio["min"] <= ratio["median"] <= ratio["max"]
    assert ratio["median"] == pytest.approx(peer / ours)
    assert {"jax", "torch", "transformers"} <= record["versions"].keys()
    assert record["machine"]["cores"] >= 1 and record["machine"]["accelerator"] is None
    assert platform.node() not in json.dumps(record["machine"])
    assert f"\n{name} " in measure.table([record])
    assert (record["sides"] == ["ours", "peer"]) == (name in benchmark.NAMES), "ours against ours has no peer"


def test_the_peer_s_map_loss_is_ours():
    """Two implementations of eq. 6, over random maps and masks, normal images included."""
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 0.02, (3, 2, 16)).astype(np.float32)
    masks = (rng.random((3, 12, 12)) < 0.3).astype(np.uint8) * np.array([1, 0, 1], np.uint8)[:, None, None]
    total, _ = map_loss(maps[None], masks[None], np.ones((1, 3), np.float32), "probability", LossWeights())
    theirs = torch_map_loss(torch.from_numpy(maps), torch.from_numpy(masks))
    assert float(theirs) == pytest.approx(float(total), abs=1e-5)


def counted(agreement=None):
    order = []
    return order, measure.Measurement(
        "counting", "ms per query", 2, lambda: order.append("ours"), lambda: order.append("peer"), agreement or {},
        "nothing", None,
    )  # fmt: skip


def test_runs_alternate_after_one_of_each_that_does_not_count():
    order, measurement = counted()
    record = measure.measure(measurement, 3)
    assert order == ["ours", "peer"] * 4 and len(record["ours"]["runs"]) == 3


def test_the_collection_before_a_run_walks_only_what_runs_left_behind():
    """Frozen, what was there before costs no time between runs; afterwards nothing stays frozen."""
    frozen = []
    ours = lambda: frozen.append(gc.get_freeze_count())  # noqa: E731
    measure.interleaved({"ours": ours, "peer": lambda: None}, 2)
    assert min(frozen) > 10_000 and gc.get_freeze_count() == 0
    with pytest.raises(ZeroDivisionError):
        measure.interleaved({"ours": lambda: 1 / 0}, 1)
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("difference", [0.2, float("nan")])
def test_sides_that_disagree_are_not_compared(difference):
    order, measurement = counted({"scores": (difference, 0.1)})
    with pytest.raises(InputError, match="scores of the two sides differ by"):
        measure.measure(measurement, 1)
    assert not order


def test_all_is_one_file_with_every_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "NAMES", ("one", "two"))
    monkeypatch.setattr(benchmark, "prepare", lambda name: lambda pair: dataclasses.replace(counted()[1], name=name))
    benchmark.main(["all", "--size=tiny", "--repeats=2", f"--out={tmp_path / 'all.json'}"])
    written = json.loads((tmp_path / "all.json").read_text())
    assert written["name"] == "all" and [record["name"] for record in written["results"]] == ["one", "two"]
    assert written["machine"] == written["results"][0]["machine"]
    assert "one" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, says",
    [(["walk"], "invalid choice: 'walk'"), (["score", "--repeats=0"], "choose at least 1"),
     (["score", "--out=/nowhere/x.json"], "no folder /nowhere")],
)  # fmt: skip
def test_faults_of_the_command_line_are_one_line(capsys, arguments, says):
    with pytest.raises(SystemExit) as exit_:
        benchmark.main(arguments)
    error = capsys.readouterr().err.strip()
    assert exit_.value.code == 2 and error.startswith("error: ") and says in error and "\n" not in error


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.nightly])])
def test_curves_grow_and_are_drawn(pair, tmp_path, monkeypatch, compiled):
    """Rows as they are packed; the four steps themselves are compiled and run only at night."""

    class Step:
        def __init__(self, pair, work, shape, rows):
            assert None not in pack(work.encodeds, rows, shape, pair.config.vision).where
            self.bytes = shape.slots

        def __call__(self):
            return 0.0, 0.0

    if not compiled:
        monkeypatch.setattr(curves, "OurStep", Step)
    for axis, values in (("LENGTHS", (128, 256)), ("IMAGES", ()), ("SHOTS", ()), ("RATIOS", (1.0, 0.2))):
        monkeypatch.setattr(curves, axis, values)
    result = curves.curves(pair, 1, lambda line: None)
    short, long = result["points"]["length"]
    whole, kept = result["points"]["ratio"]
    assert short["slots"] < long["slots"] and short["bytes"] < long["bytes"]
    assert whole["slots"] - kept["slots"] == 3 * (16 - 3), "of 16 tokens 20 % stay, in three of four references"
    curves.draw(result, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
