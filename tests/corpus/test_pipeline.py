"""From photographs to a dataset with captions, against an endpoint that misbehaves; stopped anywhere, nothing twice."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from iadgpt_jax.corpus import clean as cleaning
from iadgpt_jax.corpus import collect as collecting
from iadgpt_jax.corpus import fingerprints, workdir
from iadgpt_jax.corpus.prompts import read_prompts
from iadgpt_jax.data.images import pixel_hash, read_image
from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.sources import prepare, shards
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.endpoint import client, ledger
from iadgpt_jax.journal import Journal
from tests.corpus import pipeline
from tests.corpus.server import PERSPECTIVES, TROUBLES, Server, running
from tools.reliability.forks import Forks, forks

ROOT = Path(__file__).resolve().parents[2]
KILLS = 24
IMPORTED = (  # once, by the process that forks those that are killed
    "array_record.python.array_record_module", "imagehash", "openai.resources.chat", "openai:OpenAI",
    "tensorflow_datasets:features", "tensorflow_datasets:core.DatasetInfo",
)  # fmt: skip


class Stopped(BaseException):
    """Stands for a process that is killed."""


def test_described_products_come_out_as_training_reads_them(products, server, tmp_path):
    work = tmp_path / "corpus"
    pipeline.run(*pipeline.steps(work, products, server.url))
    source = PreparedSource(work / "dataset")
    report = json.loads((work / "dataset/report.json").read_text())
    described = {line["image"]: line["captions"] for line in workdir.read_lines(work / workdir.CAPTIONS_FILE, "")}
    assert len(source) == len(described) == report["captioned"] == 7 - refused(work)
    for index, record in enumerate(source.records):
        sample = source[index]
        assert record.defective is False and record.split == "train" and record.captioned
        assert sample.captions == tuple(described[f"collected/{sample.key}"])
        for caption, perspective in zip(sample.captions, PERSPECTIVES, strict=True):
            assert f"the {perspective} of part" in caption
        np.testing.assert_array_equal(sample.image, read_image(work / "collected" / sample.key))
        assert bytes(source.sha256[index]).hex() == pixel_hash(sample.image)
    why = {item["path"]: item["why"] for item in report["left_out"]}
    assert len(why) == report["left_out_files"] == 4 + refused(work)
    assert "the pixels of collected/hex_bolt/good_0.png" in why["collected/hex_bolt/good_9.png"]
    assert "a near-duplicate of collected/hex_bolt/good_1.png" in why["collected/spur_gear/good_resized.jpg"]
    assert "is not an image" in why["collected/tea_bag/good_broken.png"]
    assert "only 20 x 20 pixels" in why["collected/tea_bag/good_small.png"]


def refused(work: Path) -> int:
    """Images that the model would not describe, each told of."""
    report = json.loads((work / workdir.DESCRIBE_REPORT).read_text())
    told = [item for item in report["left_out"] if "will not describe it: I'm sorry" in item["why"]]
    assert report["refused"] == len(told)
    return len(told)


def test_the_task_that_describes_draws_from_it(products, server, tmp_path):
    work = tmp_path / "corpus"
    pipeline.run(*pipeline.steps(work, products, server.url))
    source = PreparedSource(work / "dataset", side=28)
    ((task, _),) = build(source, {"describe": {"weight": 1.0}})
    assert len(task) == len(source)
    instance = task.instance(0, np.random.default_rng(0))
    assert [block.turns[0].answer for block in instance.blocks] == list(source[0].captions)


def test_every_kind_of_trouble_is_met_and_costs_no_answer(products, tmp_path, monkeypatch):
    """Forced one after the other on all questions: each ends with three captions an image, each billed once."""
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    work = tmp_path / "corpus"
    pipeline.run(pipeline.collect(work, products), pipeline.clean(work))
    for trouble in TROUBLES[1:]:
        shutil.rmtree(work / "described", ignore_errors=True)
        (work / workdir.ANSWERS_FILE).unlink(missing_ok=True)
        with running(Server(troubles=(trouble,), refuse_every=0)) as server:
            pipeline.run(pipeline.describe(work, server.url, "--concurrency=7"))
        assert len(server.requests) == 21 and set(server.requests.values()) == {2}, trouble
        assert set(server.answered.values()) == {1}, trouble
        assert len(workdir.read_lines(work / workdir.CAPTIONS_FILE, "")) == 7


def test_run_again_it_asks_nothing_and_says_so(products, server, tmp_path, capsys):
    work = tmp_path / "corpus"
    first = pipeline.steps(work, products, server.url)[:3]
    pipeline.run(*first)
    before, asked = pipeline.contents(work), server.requests.copy()
    capsys.readouterr()
    pipeline.run(*first)
    assert "0 to describe: 0 questions, about 0.00" in capsys.readouterr().out
    assert server.requests == asked
    assert pipeline.contents(work) == before


# Where the pipeline may be stopped, before or after the call: (owner, name) of a function.
PLACES = [
    (workdir, "write_whole"),
    (collecting.shutil, "copyfile"),
    (collecting._Aside, "keep"),
    (fingerprints, "fingerprint"),
    (cleaning, "decide"),
    (Journal, "append"),
    (client.Endpoint, "ask"),
    (ledger.Ledger, "keep"),
    (prepare.plans, "remember"),
    (shards, "load_entry"),
    (shards, "_rename"),
    (prepare, "write_index"),
    (prepare, "draw_sheet"),
]


class Killer:
    """Counts calls of PLACES, and stops the process at the one it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.calls, self.at, self.after = 0, 0, False
        for owner, name in PLACES:
            patch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, function):
        def counted(*arguments, **named):
            self.calls += 1
            mine = self.calls == self.at
            if mine and not self.after:
                raise Stopped
            result = function(*arguments, **named)
            if mine:
                raise Stopped
            return result

        return counted


@pytest.mark.slow
def test_stopped_at_random_and_started_again_it_ends_with_the_same_bytes(products, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    with running(Server(troubles=("", "429", "500", "cut answer"))) as server:
        pipeline.run(*pipeline.steps(tmp_path / "undisturbed", products, server.url))
        undisturbed = pipeline.contents(tmp_path / "undisturbed/dataset")
        billed = server.answered
    rng, kills, rounds = random.Random(0), 0, 0
    while kills < KILLS:
        work, rounds = tmp_path / f"corpus_{rounds}", rounds + 1
        with running(Server(troubles=("", "429", "500", "cut answer"))) as server:
            kills += run_with_kills(work, products, server, rng)
        assert pipeline.contents(work / "dataset") == undisturbed
        assert server.answered == billed  # each answer was made, and billed, exactly once
        assert spent_on_disk(work) <= spent_on_disk(tmp_path / "undisturbed") + 8 * most_for_one()


def run_with_kills(work: Path, products: Path, server: Server, rng: random.Random) -> int:
    """All steps, killed every 5 to 60 calls; returns how often. What is on disk is never asked again."""
    kills = 0
    for command in pipeline.steps(work, products, server.url):
        while True:
            known, headers = answers_on_disk(work), len(server.headers)
            with pytest.MonkeyPatch.context() as patch:
                killer = Killer(patch)
                killer.at, killer.after = rng.randint(5, 60), rng.random() < 0.5
                try:
                    pipeline.run(command)
                    done = True
                except Stopped:
                    kills, done = kills + 1, False
            asked = {header["idempotency-key"].partition("-")[0] for header in server.headers[headers:]}
            assert not asked & known
            if done or (command[0] == "publish" and (work / "dataset").exists()):
                break
    return kills


def answers_on_disk(work: Path) -> set[str]:
    """Ids of the questions whose answers a killed process has left."""
    if not (work / workdir.ANSWERS_FILE).exists():
        return set()
    lines = (work / workdir.ANSWERS_FILE).read_text().splitlines(keepends=True)
    return {entry["answer"] for line in lines if line.endswith("\n") and "answer" in (entry := json.loads(line))}


def spent_on_disk(work: Path) -> float:
    return json.loads((work / workdir.DESCRIBE_REPORT).read_text())["spent"]


def most_for_one() -> float:
    """The most that one question, whose fate a kill has hidden, may be taken to have cost."""
    return (1000 * 1 + read_prompts().max_tokens * 4) / 1e6


@pytest.mark.slow
def test_killed_processes_leave_nothing_that_new_ones_mind(products, tmp_path, monkeypatch):
    assert kill_processes(products, tmp_path, monkeypatch, kills=3).total() >= 3


@pytest.mark.nightly
def test_killed_twenty_times_in_all_four_steps_it_ends_with_the_same_bytes(products, tmp_path, monkeypatch):
    killed = kill_processes(products, tmp_path, monkeypatch, kills=20)
    print(dict(killed))
    assert killed.total() >= 20 and len(+killed) >= 3  # copying eleven files may be over before the signal comes


def kill_processes(products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int) -> Counter[str]:
    """The four commands over and over, with SIGKILL a random while after the first sign of work, until there were
    `kills`. What comes out is that of an undisturbed run; no answer on disk is asked for again, none is billed twice.

    Returns how often each step was killed."""
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    rng, rounds, killed = random.Random(1), 0, Counter()
    with running(Server(delay=0.02)) as server:
        pipeline.run(*patient_steps(tmp_path / "undisturbed", products, server))
    undisturbed = pipeline.contents(tmp_path / "undisturbed/dataset")
    with forks("tools.build_corpus:main", IMPORTED) as process:
        while killed.total() < kills:
            rounds += 1
            work = tmp_path / f"corpus_{rounds}"
            with running(Server(delay=0.02)) as server:
                for command in patient_steps(work, products, server):
                    status, before = None, killed[command[0]]
                    while status != 0 and not (work / "dataset/report.json").exists():
                        known, headers = answers_on_disk(work), len(server.headers)
                        process.start(command)
                        if killed.total() < kills and killed[command[0]] < before + 2:  # leave some for other steps
                            kill_at_random(process, work, rng)
                        status = process.status()
                        assert status in (0, -signal.SIGKILL), "what it said is on standard error"
                        killed[command[0]] += status != 0
                        asked = {header["idempotency-key"].partition("-")[0] for header in server.headers[headers:]}
                        assert not asked & known
                assert set(server.answered.values()) == {1}
            assert pipeline.contents(work / "dataset") == undisturbed
    return killed


def patient_steps(work: Path, products: Path, server: Server) -> list[list[str]]:
    """The four commands; nothing is late on the server, whatever else the machine does."""
    made = pipeline.steps(work, products, server.url)
    made[2] += ["--timeout=20", "--concurrency=2"]
    return made


def kill_at_random(process: Forks, work: Path, rng: random.Random) -> None:
    """Kill a process a random while after it has written something, unless it ends before."""

    def written() -> int:
        with contextlib.suppress(FileNotFoundError):  # renamed while we look
            return sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        return -1

    before = written()
    while process.running() and written() == before:
        time.sleep(0.001)
    time.sleep(rng.choice((0, 0.01, 0.1, 0.4)) * rng.random())
    process.kill()


def test_real_products_go_through_the_whole_pipeline(shared_dir, tmp_path, server):
    """Cans and tags as they were photographed, with MVTec-AD and a second copy of one of them beside them."""
    for category in ("soda_can", "metal_tag"):
        for path in sorted((shared_dir / "data/real_products" / category / "train/good").iterdir())[:4]:
            (tmp_path / "shop" / category).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tmp_path / "shop" / category / path.name)
    shutil.copyfile(path, tmp_path / "shop/soda_can/copy.jpg")
    bottle = next((shared_dir / "data/mvtec_part/bottle/test/good").iterdir())
    shutil.copyfile(bottle, tmp_path / "shop/soda_can" / f"flask{bottle.suffix}")
    work = tmp_path / "corpus"
    exclude = f"--exclude={shared_dir / 'data/mvtec_part/bottle/test'}"
    pipeline.run(
        pipeline.collect(work, tmp_path / "shop"), pipeline.clean(work, "--least_side=100", "--distance=0", exclude),
        pipeline.describe(work, server.url), pipeline.publish(work),
    )  # fmt: skip
    report = json.loads((work / "dataset/report.json").read_text())
    left_out = {item["path"].rsplit("/", 1)[-1]: item["why"] for item in report["left_out"]}
    assert "the pixels of an evaluation image" in left_out[f"flask{bottle.suffix}"]
    assert " of collected/metal_tag/" in left_out["copy.jpg"]
    kept = len(workdir.read_lines(work / workdir.IMAGES_FILE, ""))
    assert report["records"] == report["captioned"] == kept - refused(work) == len(PreparedSource(work / "dataset"))
    assert kept + 2 <= 10 <= kept + 3  # a bottle, the copy, and a tag that looks like another one
    assert set(server.answered.values()) == {1}
