"""The inspector's prompts: tokens, image tokens and positions, as the model was trained on them.

All words come from config.json's section `iadgpt`; the tokenizer is the tokenizer.json beside the weights.
Suffixes: S prompt tokens, E width, N merged tokens of an image.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers.utils import cached_file


class Prompter:
    """What a model says and reads: its texts, detection prompt, tokenizer, image side and form of the maps.

    detection: question, normal_answer, anomalous_answer, and the keywords "abnormal" whose attention makes the map.
    """

    def __init__(self, config, directory: str):
        section = config.iadgpt
        self.config = config
        self.texts: dict[str, str] = section["prompt"]
        self.detection: dict = section["training"]["detection_prompt"]
        self.side: int = section["training"].get("image_side", 448)
        self.map_space = "logit" if section["training"].get("map_space") == "logit" else "probability"
        self.aligned = section["positions"] == "aligned"
        self.tokenizer = Tokenizer.from_file(cached_file(directory, "tokenizer.json"))

    def encode(self, text: str):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def verdict(self, defective: bool) -> str:
        return self.detection["anomalous_answer" if defective else "normal_answer"]

    def first_token(self, defective: bool) -> int:
        """Of the answer that says so."""
        return self.encode(self.verdict(defective)).ids[0]

    def open(self, device) -> Prompt:
        """A prompt that holds the header: system prompt and opening of the user's turn."""
        prompt = Prompt(self.config, self.aligned, device)
        prompt.add_ids(self.encode(self.texts["header"]).ids)
        return prompt

    def keyword_rows(self, question: str) -> list[tuple[int, float]]:
        """(index of a token in question + to_answer, weight): words count equally, sub-tokens of a word too."""
        offsets = self.encode(question + self.texts["to_answer"]).offsets
        rows: dict[int, float] = {}
        spans = [span for word in self.detection["abnormal"] for span in _occurrences(question, word)]
        for begin, end in spans:
            pieces = [i for i, (low, high) in enumerate(offsets) if low < end and high > begin]
            for piece in pieces:
                rows[piece] = rows.get(piece, 0.0) + 1.0 / len(pieces) / len(spans)
        return sorted(rows.items())


class Prompt:
    """Tokens with their positions; image tokens carry features instead of a token's embedding."""

    def __init__(self, config, aligned: bool, device):
        self.config, self.aligned, self.device = config, aligned, device
        self.ids: list[int] = []
        self.positions: list[tuple[int, int, int]] = []
        self.images: list[tuple[int, torch.Tensor]] = []  # (first token, features [kept, E])
        self.next = 0  # time of the next token
        self.last_image, self.last_grid = (0, 0), (0, 0)

    def __len__(self) -> int:
        return len(self.ids)

    def extended(self) -> Prompt:
        """A copy to go on from."""
        copy = Prompt(self.config, self.aligned, self.device)
        copy.ids, copy.positions, copy.images = self.ids[:], self.positions[:], self.images[:]
        copy.next, copy.last_image, copy.last_grid = self.next, self.last_image, self.last_grid
        return copy

    def add_ids(self, ids) -> None:
        self.ids += ids
        self.positions += [self._text(self.next + i) for i in range(len(ids))]
        self.next += len(ids)

    def add_question(self, prompter: Prompter, question: str) -> None:
        self.add_ids(prompter.encode(question + prompter.texts["to_answer"]).ids)

    def add_detection(self, prompter: Prompter) -> list[tuple[int, float]]:
        """Ask whether something is wrong: (index, weight) of the tokens whose attention makes the map."""
        start, question = len(self), prompter.detection["question"]
        self.add_question(prompter, question)
        return [(start + row, weight) for row, weight in prompter.keyword_rows(question)]

    def place_image(self, features: torch.Tensor, kept: torch.Tensor | None = None) -> None:
        """features [high, wide, E]; kept int64[K] in raster order (default all): tokens keep their place, and what
        follows stands where it would behind the whole image."""
        high, wide, width = features.shape
        features = features.reshape(-1, width)
        if kept is None:
            kept = torch.arange(len(features), device=features.device)
        self.add_ids([self.config.vision_start_token_id])
        start, (time, top, left) = len(self), self._text(self.next)
        self.images.append((start, features[kept]))
        self.ids += [self.config.image_token_id] * len(kept)
        self.positions += [(time, top + index // wide, left + index % wide) for index in kept.tolist()]
        self.last_image, self.last_grid = (start, len(self)), (high, wide)
        self.next += 1 if self.aligned else max(high, wide)
        self.add_ids([self.config.vision_end_token_id])

    def inputs(self, embed, begin: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(embeddings [1, S, E], positions int64[3, 1, S]) of the tokens from `begin` on."""
        ids = torch.tensor([self.ids[begin:]], device=self.device)
        embeddings = embed(ids)
        for start, features in self.images:
            if start >= begin:
                embeddings[0, start - begin : start - begin + len(features)] = features.to(embeddings.dtype)
        positions = torch.tensor(self.positions[begin:], device=self.device).T[:, None]
        return embeddings, positions

    def _text(self, time: int) -> tuple[int, int, int]:
        return (time, 0, 0) if self.aligned else (time, time, time)


def kept_tokens(image: torch.Tensor, first: torch.Tensor, keep: int) -> torch.Tensor:
    """int64[keep]: of image [high, wide, E] the tokens least like the first reference's (paper eq. 7–9), in raster
    order."""
    unit, anchor = (functional.normalize(x.flatten(0, 1).float(), dim=-1, eps=1e-12) for x in (image, first))
    if keep >= len(unit):
        return torch.arange(len(unit), device=unit.device)
    nearest = (unit @ anchor.T).amax(dim=-1)
    return torch.argsort(nearest, stable=True)[:keep].sort().values


def _occurrences(text: str, word: str):
    """Character spans of `word` as a whole word ("normal" does not occur in "abnormal")."""
    lowered, at = text.lower(), 0
    while (at := lowered.find(word, at)) >= 0:
        end = at + len(word)
        if not (at and lowered[at - 1].isalpha()) and not lowered[end : end + 1].isalpha():
            yield at, end
        at = end
