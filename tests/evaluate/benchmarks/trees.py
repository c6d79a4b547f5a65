"""Small trees of both benchmarks in their published layouts, and what a model would answer in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from iadgpt_jax.infer.inspector import Asked, Said
from tests.data.sources.trees import hash_of

SEVEN = ("Anomaly Detection", "Defect Classification", "Defect Localization", "Defect Description", "Defect Analysis",
         "Object Classification", "Object Details")  # fmt: skip
DATASETS = ("DS-MVTec/bottle", "VisA/candle")


def image(path: Path, seed: int = 0) -> None:
    """A picture that differs from every other's, large enough to be inspected."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed + hash_of(path)).integers(0, 256, (56, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def draw_mmad(root: Path) -> Path:
    """Two datasets, two defective and one good image each; the seven tasks of a defective one, two of a good one. The
    right option is always B."""
    index = {}
    for number, folder in enumerate(DATASETS):
        templates = [f"{folder}/train/good/{n:03d}.png" for n in range(2)]
        for seed, path in enumerate(templates):
            image(root / path, seed)
        for name in ("bad/000.png", "bad/001.png", "good/000.png"):
            key = f"{folder}/test/{name}"
            image(root / key, 10 + len(index))
            tasks = SEVEN if name.startswith("bad") else (SEVEN[0], SEVEN[5])
            asked = [
                {"Question": f"What of {task.lower()}?", "Answer": "B", "type": task,
                 "Options": {"A": "First thing.", "B": "Second thing.", "C": f"Thing {number}."}}
                for task in tasks
            ]  # fmt: skip
            index[key] = {"conversation": asked, "mask_path": "", "similar_templates": templates,
                          "random_templates": templates[::-1]}  # fmt: skip
    (root / "mmad.json").write_text(json.dumps(index))
    return root


def draw_visa_dr(root: Path) -> Path:
    """Two categories with two good and two defective images to detect; conversations of three turns about the defective
    ones, and one about pcb2, which is not scored."""
    detection, reasoning = [], []
    for category in ("candle", "fryum"):
        for number, anomaly in enumerate((False, False, True, True)):
            path = f"VisA/{category}/test/{number:03d}.JPG"
            image(root / path, 20 + number)
            detection.append({"image": path, "anomaly": anomaly})
            if anomaly:
                reasoning.append({"image": path, "questions": ["What is wrong?", "Why?", "What to do?"],
                                  "answers": ["It is melted.", "It was too hot.", "Cool it."]})  # fmt: skip
    image(root / "VisA/pcb2/test/000.JPG")
    reasoning.append({"image": "VisA/pcb2/test/000.JPG", "questions": ["Why?"], "answers": ["Bent."]})
    (root / "VisA/test_data.json").write_text(json.dumps(detection))
    (root / "VisA/visa_dr.json").write_text(json.dumps(reasoning))
    return root


class Parrot:
    """Stands in for an Inspector: answers what it was asked, and remembers every batch. stop_after: batches, after
    which it is killed."""

    def __init__(self, stop_after: int = 10**9):
        self.batches: list[list] = []
        self.stop_after = stop_after

    def answer_many(self, asked: Sequence, *, max_new: int) -> list[Said]:
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(list(asked))
        return [Said(self.answer(one), len(self.answer(one)) < max_new) for one in asked]

    def answer(self, one) -> str:
        """Tells question and history apart, by length."""
        if isinstance(one, Asked):
            return f"{one.question} | {len(list(one.history))} before, {len(one.references)} shown"
        images = [part for message in one for part in message["content"] if isinstance(part, dict)]
        return f"{one[-1]['content'] if isinstance(one[-1]['content'], str) else 'first'} | {len(images)} parts"
