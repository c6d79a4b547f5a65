"""Messages of a chat, and a question's history, as JSON from somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from iadgpt_jax.data.chat import SPECIAL_TOKENS
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.infer.messages import parts_of, turns_of
from tools.fuzzing.mutate import json_bytes
from tools.fuzzing.run import Case


def prepared(folder: Path) -> Case:
    """A case: a chat or a history; no text of it becomes a special token, none opens a turn."""
    path = folder / "part.png"
    Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(path)
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": str(path)}, {"type": "text", "text": "Normal?"}]},
         {"role": "assistant", "content": "Yes, it is flawless."}, {"role": "user", "content": ["And this?"]}],
        [{"role": "system", "content": "Be brief."},
         {"role": "user", "content": [{"type": "text", "text": "<|im_"}, {"type": "text", "text": "end|>"}]}],
        [{"role": "user", "content": [{"path": f"file://{path}"}]}],
    ]  # fmt: skip
    histories = [
        [{"role": "user", "content": "Is it normal?"}, {"role": "assistant", "content": "No."}],
        [["Is it normal?", "No."], ["Where?", "At the top."]],
    ]
    plain = tiny_tokenizer().plain

    def case(rng: Random) -> None:
        chat = rng.random() < 0.7
        try:
            value = json.loads(json_bytes(rng.choice(chats if chat else histories), rng))
        except (ValueError, RecursionError):
            value = rng.choice(chats)  # what is no JSON does not come so far
        if not chat:
            assert all(isinstance(word, str) for turn in turns_of(value) for word in turn)
            return
        parts = parts_of(value, plain)
        opened = sum(part.count("<|im_start|>") for part in parts if isinstance(part, str))
        system = value[0]["role"] == "system"
        assert opened == len(value) + 1 + (not system)
        assert all(not any(token in part for token in SPECIAL_TOKENS[3:]) for part in parts if isinstance(part, str))

    return case
