"""An evaluation's work: shared out evenly, written whole or not at all, gone on with after being killed; viewpoints."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from iadgpt_jax.data.sources.sample import Record, Sample
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.measure import Options
from iadgpt_jax.evaluate.protocol import draw_plans
from iadgpt_jax.evaluate.raw import PARTIAL, Masks, Queries, RawFolder, Scores, file_stem, pack_masks
from iadgpt_jax.evaluate.results import compute_metrics, evaluations_in, write_metrics, write_summary
from iadgpt_jax.evaluate.work import Piece, indices_of, pieces_of, score_missing, share

SIDE, DRAWS, SHOTS = 16, 3, (1, 2)
CATEGORIES = ("bolt", "../nut", "ring/1", "axle")


@dataclass
class Parts:
    """4 good references, 3 good and 4 defective queries of every category, from every viewpoint; nothing is read."""

    views: tuple[str, ...] = ("",)
    categories: tuple[str, ...] = CATEGORIES
    name: str = "parts"

    def __post_init__(self):
        kinds = [("train", False)] * 4 + [("test", False)] * 3 + [("test", True)] * 4
        # As datasets list them: part by part, each from all viewpoints.
        self.records = [Record(c, split, bad, v) for c in self.categories for split, bad in kinds for v in self.views]
        self.keys = [f"{record.category}/{index}" for index, record in enumerate(self.records)]

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        record = self.records[index]
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if record.defective:
            mask[2 : 4 + index % 5, 3:7] = 1
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        return Sample(image, mask, record.defective, record.category, record.split, self.keys[index])


def score(groups):
    """Margins and maps that follow from a query and its references alone."""
    for group in groups:
        found = []
        for plan in group.plans:
            rng = [np.random.default_rng([query, *plan.references]) for query in plan.queries]
            margins = np.stack([one.normal(size=len(SHOTS)) for one in rng], axis=1).astype(np.float32)
            maps = np.stack([one.random((len(SHOTS), 4, 4)) for one in rng], axis=1).astype(np.float32)
            found.append(Scores(SHOTS, margins, maps))
        yield group, found


def plans_of(source, references="own"):
    return [draw_plans(source, SHOTS, draw, references=references) for draw in range(DRAWS)]


def settings(source):
    decides = {"shots": list(SHOTS), "seed": 0, "references": "own", "ratio": 1.0, "side": SIDE, "digest": "0"}
    names = {name: file_stem(name) for name in dict.fromkeys(r.category for r in source.records)}
    told = {"dataset": "parts", "dataset_name": "parts", "draws": DRAWS, "categories": names, "without_queries": []}
    return decides | {"reference_list": None}, told


def evaluate(folder, process=0, processes=1, source=None) -> None:
    """As launch/evaluate.py does it, without a model."""
    source = source or Parts()
    raw = RawFolder(folder)
    if process == 0:
        raw.begin(*settings(source))
    draws = plans_of(source)
    score_missing(raw, share(pieces_of(draws, processes), processes)[process], draws, "own", source, score)
    if process == 0:
        write_metrics(Path(folder), compute_metrics(raw, Options()))


def tree(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    evaluate(folder)
    return folder


def test_killed_twenty_times_it_leaves_whole_files_and_ends_with_those_of_an_undisturbed_run(undisturbed, tmp_path):
    """SIGKILL at random moments of a process that is forked, so that it costs nothing to start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    wanted, rng, kills = tree(undisturbed), random.Random(0), 0
    while kills < 25:  # of a process that had not ended
        running = context.Process(target=evaluate, args=(tmp_path,))
        running.start()
        first = time.monotonic()
        before = len(tree(tmp_path))
        while time.monotonic() - first < 20 and running.is_alive() and len(list(tmp_path.rglob("*"))) <= before:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.004))
        kills += running.is_alive()
        os.kill(running.pid, signal.SIGKILL)  # not yet joined, so the number is still its own
        running.join()
        for name, content in tree(tmp_path).items():
            if not Path(name).name.startswith(PARTIAL):
                assert content == wanted[name], name
        if (tmp_path / "metrics.json").exists():  # it came to the end: once more with half of it
            for path in list((tmp_path / "raw").rglob("*.npz"))[::2]:
                path.unlink()
            (tmp_path / "metrics.json").unlink()
    evaluate(tmp_path)
    assert tree(tmp_path) == wanted


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_processes_together_write_the_files_of_one(undisturbed, tmp_path, processes):
    """Process 0 last, which computes the metrics when all have scored."""
    RawFolder(tmp_path).begin(*settings(Parts()))
    for process in reversed(range(processes)):
        evaluate(tmp_path, process, processes)
    assert tree(tmp_path) == tree(undisturbed)


def test_shares_are_even_and_hold_every_draw_of_every_category_once():
    draws = plans_of(Parts(categories=tuple(f"c{i}" for i in range(7))))
    for processes in (1, 2, 5, 30):
        pieces = pieces_of(draws, processes)
        shares = share(pieces, processes)
        held = [(piece.category, draw) for one in shares for piece in one for draw in piece.draws]
        assert sorted(held) == sorted((f"c{i}", draw) for i in range(7) for draw in range(DRAWS))
        costs = [sum(piece.cost for piece in one) for one in shares]
        assert max(costs) - min(costs) <= max(piece.cost for piece in pieces)
    assert pieces_of(draws, 1)[0] == Piece("c0", (0, 1, 2), 21), "query images are seen once for all draws"


def test_what_is_there_is_not_scored_again(undisturbed, tmp_path):
    asked = []

    def watched(groups):
        asked.extend((group.category, len(group.plans)) for group in groups)
        return score(groups)

    raw, source = RawFolder(tmp_path), Parts()
    assert raw.begin(*settings(source)) == 0
    everything = pieces_of(plans_of(source), 1)
    score_missing(raw, everything, plans_of(source), "own", source, watched)
    assert asked == [(name, DRAWS) for name in CATEGORIES]
    (tmp_path / "raw/draw-1/bolt.npz").write_bytes(b"PK cut off")
    (tmp_path / f"raw/draw-2/{PARTIAL}x").write_bytes(b"left by a process that was killed")
    asked.clear()
    assert raw.begin(*settings(source)) == len(CATEGORIES) * (DRAWS + 1)
    score_missing(raw, everything, plans_of(source), "own", source, watched)
    assert asked == [("bolt", 1)]
    assert {name: data for name, data in tree(undisturbed).items() if name != "metrics.json"} == tree(tmp_path)


def test_results_of_other_settings_are_refused(tmp_path):
    decides, told = settings(Parts())
    raw = RawFolder(tmp_path)
    raw.begin(decides, told)
    raw.begin(decides, told | {"draws": 9})  # more of the same
    with pytest.raises(InputError, match="other settings .ratio 1.0, now 0.2.: choose another --out"):
        raw.begin(decides | {"ratio": 0.2}, told)
    with pytest.raises(InputError, match="is no evaluation directory"):
        RawFolder(tmp_path / "empty").settings()


def test_references_and_queries_share_their_viewpoint_and_metrics_are_the_category_s(tmp_path):
    source = Parts(views=("C1", "C2"), categories=("bolt", "nut"))
    for references in ("own", "wrong"):
        for plans in plans_of(source, references):
            assert [(plan.category, plan.viewpoint) for plan in plans] == [
                (name, view) for name in ("bolt", "nut") for view in ("C1", "C2")
            ]
            for plan in plans:
                views = {source.records[i].viewpoint for i in (*plan.references, *plan.queries)}
                assert views == {plan.viewpoint} and len(plan.queries) == 7
    draws = plans_of(source)
    assert any(
        np.ptp(np.array(one.references) - np.array(other.references)) for one, other in (plans[:2] for plans in draws)
    ), "viewpoints draw apart from each other"
    evaluate(tmp_path, source=source)
    raw = RawFolder(tmp_path)
    order = indices_of(draws[0], "nut")
    assert raw.queries("nut").keys.tolist() == [source.keys[i] for i in order] and len(order) == 14
    alone = {}
    for group, (scores,) in score([SimpleNamespace(plans=(plan,)) for plan in draws[1] if plan.category == "nut"]):
        alone |= dict(zip(group.plans[0].queries, scores.margins.T, strict=True))
    np.testing.assert_array_equal(raw.scores(1, "nut").margins, np.stack([alone[i] for i in order], axis=1))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["shots"]["1"]["per_category"]) == ["bolt", "nut"]


def test_a_damaged_or_missing_file_is_named(undisturbed, tmp_path):
    evaluate(tmp_path)
    raw = RawFolder(tmp_path)
    path = tmp_path / "raw/draw-0/bolt.npz"
    data = path.read_bytes()
    for damage in (data[:50], data[: len(data) // 2] + bytes(40) + data[len(data) // 2 + 40 :], b""):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="draw-0/bolt.npz: it is damaged .*; remove it, and evaluate again"):
            raw.scores(0, "bolt")
    path.unlink()
    with pytest.raises(InputError, match="draw-0/bolt.npz: it is missing"):
        compute_metrics(raw, Options())
    path.write_bytes(data)
    for name in ("queries/bolt.npz", "settings.json"):
        kept = (tmp_path / "raw" / name).read_bytes()
        (tmp_path / "raw" / name).write_bytes(b"{")
        with pytest.raises(InputError, match=name):
            compute_metrics(raw, Options())
        (tmp_path / "raw" / name).write_bytes(kept)


def test_names_of_categories_are_safe_and_differ():
    names = ["bolt", "../nut", "..", ".", "a/b", "a%2Fb", "a b", "A", "a", "轴承", "x" * 300, "x" * 299, "\udcff", ""]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names) and stems[0] == "bolt"
    for stem in stems:
        assert stem and "/" not in stem and not stem.startswith(".") and len(stem.encode()) < 200 and stem.isascii()


def test_masks_come_back_as_they_were():
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 2, (5, 7), dtype=np.uint8), None, 255 * np.ones((5, 7), np.uint8)]
    queries = Queries(np.array(["a", "b", "c"]), np.ones(3, bool), np.ones(3, bool), pack_masks(masks, (5, 7)), (5, 7))
    found = Masks(queries)
    assert len(found) == 3
    for mask, expected in zip(found, (masks[0], np.zeros((5, 7)), np.ones((5, 7))), strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_an_out_of_several_evaluations_is_found_again(undisturbed, tmp_path):
    for name in ("a", "b/ratio-0.5"):
        evaluate(tmp_path / name)
    write_summary(tmp_path, [tmp_path / "a", tmp_path / "b/ratio-0.5"])
    assert evaluations_in(tmp_path) == [tmp_path / "a", tmp_path / "b/ratio-0.5"]
    assert evaluations_in(undisturbed) == [undisturbed]
    with pytest.raises(InputError, match="holds no raw results"):
        evaluations_in(tmp_path / "b")
