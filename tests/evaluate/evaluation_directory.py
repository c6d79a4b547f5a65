"""An evaluation directory as launch/evaluate.py writes it, made up with numpy; and a source of its photographs."""

import json
from pathlib import Path

import numpy as np

from iadgpt_jax.data.sources.sample import Record, Sample
from iadgpt_jax.evaluate.metrics import image_metrics, summarize
from iadgpt_jax.evaluate.raw import file_stem

SHOTS, SIDE, GRID = (1, 2, 4), 48, 4


class Photographs:
    """A source whose every photograph is noise around a grey that its key decides."""

    name = "made_up"

    def __init__(self, keys, side=SIDE):
        self.keys, self.side, self.read = list(keys), side, []
        self.records = [Record("any", "test", False) for _ in self.keys]

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index):
        key = self.keys[index]
        self.read.append(key)
        rng = np.random.default_rng(list(key.encode()))
        image = rng.integers(60, 190, (self.side, self.side, 3), np.uint8)
        return Sample(image, None, False, "any", "test", key)


def write_evaluation(
    out: Path, categories=("nut", "wood"), *, good=12, defective=10, draws=2, seed=0, dataset="made_up", apart=1.5,
    side=SIDE, **settings,
):  # fmt: skip
    """Writes metrics.json, protocol.json and raw/; returns a source of its photographs."""
    rng = np.random.default_rng(seed)
    n = good + defective
    labels = np.r_[np.zeros(good, bool), np.ones(defective, bool)]
    protocol = {"references": "own", "list": None, "draws": [{} for _ in range(draws)], "queries": {}}
    per_draw = [[{} for _ in range(draws)] for _ in SHOTS]
    (out / "raw" / "queries").mkdir(parents=True)
    for category in categories:
        keys = [f"{category}/test/{number:03d}" for number in range(n)]
        masks = np.zeros((n, side, side), np.uint8)
        masks[good:, side // 4 : side // 2, side // 4 : side // 2] = 1
        protocol["queries"][category] = keys
        np.savez_compressed(
            query_file(out, category), keys=np.array(keys), labels=labels, masked=np.ones(n, bool),
            masks=np.packbits(masks.reshape(n, -1), axis=1), shape=np.array([side, side]),
        )  # fmt: skip
        for draw in range(draws):
            protocol["draws"][draw][category] = [f"{category}/train/{draw}{number}" for number in range(max(SHOTS))]
            margins = rng.normal(size=(len(SHOTS), n)) + apart * labels * np.sqrt(SHOTS)[:, None]
            maps = rng.random((len(SHOTS), n, GRID, GRID)) ** 4
            maps[:, good:, 1, 1] += 0.4
            file = draw_file(out, draw, category)
            file.parent.mkdir(exist_ok=True)
            arrays = {"margins": margins.astype(np.float32), "maps": maps.astype(np.float32)}
            np.savez_compressed(file, shots=np.array(SHOTS), **arrays)
            for row, of_shots in zip(per_draw, margins, strict=True):
                row[draw][category] = image_metrics(of_shots.astype(np.float32), labels) | {"pixel_auroc": 0.9}
    metrics = {
        "shots": {str(k): summarize(row) for k, row in zip(SHOTS, per_draw, strict=True)},
        "dataset": dataset, "checkpoint": "somewhere/stage3", "ratio": 1.0, "seeds": draws, "references": "own",
        "image_score": "answer", "trained_on": {}, "undefined": {},
    }  # fmt: skip
    (out / "metrics.json").write_text(json.dumps(metrics | settings))
    (out / "protocol.json").write_text(json.dumps(protocol))
    used = [key for keys in protocol["queries"].values() for key in keys]
    used += [key for draw in protocol["draws"] for keys in draw.values() for key in keys]
    return Photographs(used, side)


def query_file(out: Path, category: str) -> Path:
    return out / "raw" / "queries" / f"{file_stem(category)}.npz"


def draw_file(out: Path, draw: int, category: str) -> Path:
    return out / "raw" / f"draw-{draw}" / f"{file_stem(category)}.npz"
