"""words.jsonl: captions and other words that travel with photographs."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from iadgpt_jax.data.sources.entry import Entry
from iadgpt_jax.data.sources.words import WORDS_FILE, Words
from tools.fuzzing.mutate import bytes_of, json_bytes
from tools.fuzzing.run import Case

LINES = [
    {"key": "bolt", "captions": ["A hexagonal bolt.", "Forged steel.", "Smooth and grey."]},
    {"key": "bolt/test/scratch", "cause": "contact with a sharp tool", "remedy": "cover the tool edge"},
    {"key": "bolt/test/scratch/000.png", "kind": "deep scratch", "viewpoint": "top"},
]
ENTRIES = [
    Entry("bolt/test/scratch/000.png", "a.png", "bolt", "test", "scratch"),
    Entry("bolt/train/good/000.png", "b.png", "bolt", "train", None),
]


def prepared(folder: Path) -> Case:
    """A case: a file with one line of three changed, read and asked about two photographs."""
    path = folder / WORDS_FILE

    def case(rng: Random) -> None:
        lines = [json.dumps(line).encode() for line in LINES]
        which = rng.randrange(len(lines))
        lines[which] = json_bytes(LINES[which], rng)
        data = b"\n".join(lines)
        path.write_bytes(bytes_of(data, rng) if rng.random() < 0.2 else data)
        with Words(path) as words:
            for entry in ENTRIES:
                told = words.add_to(entry)
                assert all(isinstance(text, str) for text in (*told.captions, told.cause, told.remedy, told.viewpoint))
                assert (told.defect is None) == (entry.defect is None), "a good part stays one"
            list(words.unused())

    return case
