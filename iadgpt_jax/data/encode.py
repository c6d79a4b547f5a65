"""Instance -> Encoded: token ids, uint8 patches, M-RoPE positions, and where keywords, targets and verdicts stand.

Everything that depends on data is decided here, in numpy, before shapes become static. A block is encoded at the
positions it would have if it stood alone after its first `sees` shared images, so sharing changes nothing but cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iadgpt_jax.data.chat import CLOSING, HEADER, TO_ANSWER, opening
from iadgpt_jax.data.detection_prompt import NORMALITY, DetectionPrompt, occurrences
from iadgpt_jax.data.patches import grid_of, to_patches
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.models.answer_loss import named
from iadgpt_jax.models.iadgpt.positions import after_image, text_position
from iadgpt_jax.models.protocols import ModelConfig

VERDICT = named("verdict")  # what the first token of an answer to the detection question says


@dataclass
class Segment:
    """A run of decoder slots. image: index into Encoded.images, -1 for text; image_token: which kept token stands
    here."""

    tokens: list[int] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    image_token: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class EncodedImage:
    """patches uint8[P, 3·patch²] in window order; grid (merged tokens high, wide); `keep` tokens stay; `anchor` is the
    index, within the instance, of the image that compression compares with."""

    patches: np.ndarray
    grid: tuple[int, int]
    keep: int
    anchor: int


@dataclass
class EncodedBlock:
    """One query block. Offsets count from the block's first slot.

    limit: how many shared slots it sees. targets: (offset of the predicting slot, id). target_words: what each says, as
    in models/rows.Rows. keyword_rows: (offset, weight
    among abnormal words, weight among normal words). map_start: offset of the query image's first token.
    answer: offset of the slot that predicts the first answer token. next_position: where generation goes on.
    """

    segment: Segment
    limit: int
    targets: list[tuple[int, int]]
    target_words: list[int]
    keyword_rows: list[tuple[int, float, float]]
    map_start: int
    mask: np.ndarray | None
    answer: int
    scored: bool
    next_position: int


@dataclass
class Encoded:
    """An instance in tokens. ends: slots and next position after the first k shared images, for each k; more: further
    blocks it can have (`Encoder.grow`); cut: whether an answer was cut to fit a row (data/shorten.py); notes: for
    whoever places it, kept as it grows."""

    task: str
    shared: Segment
    blocks: list[EncodedBlock]
    images: list[EncodedImage]
    ends: list[tuple[int, int]] = field(default_factory=list)
    more: tuple[Callable[[], Block], ...] = ()
    cut: bool = False
    notes: Any = None

    @property
    def slots(self) -> int:
        return len(self.shared) + sum(len(block.segment) for block in self.blocks)

    def with_blocks(self, kept: Sequence[int]) -> Encoded:
        """The same instance with only these of its blocks, and no more to come; its images are numbered anew."""
        owned = [sorted({i for i in block.segment.image if i >= 0}) for block in self.blocks]
        shared = sorted(set(range(len(self.images))) - {i for images in owned for i in images})
        numbers = {old: new for new, old in enumerate([*shared, *(i for k in kept for i in owned[k])])}
        blocks = []
        for k in kept:
            segment = self.blocks[k].segment
            moved = dataclasses.replace(segment, image=[numbers.get(i, -1) for i in segment.image])
            blocks.append(dataclasses.replace(self.blocks[k], segment=moved))
        images = [dataclasses.replace(self.images[old], anchor=numbers[self.images[old].anchor]) for old in numbers]
        return dataclasses.replace(self, blocks=blocks, images=images, more=())


class Encoder:
    """Turns instances into `Encoded`s of one model: its configuration, its tokenizer and its detection prompt."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, prompt: DetectionPrompt = NORMALITY):
        self.config, self.tokenizer, self.prompt = config, tokenizer, prompt

    def __call__(self, instance: Instance) -> Encoded:
        images = [self._image(pixels, i, instance.ratio) for i, pixels in enumerate(instance.shared)]
        shared, position = Segment(), 0
        # With nothing shared in front of it a question must be tokenised together with the header before it.
        header_apart = bool(instance.shared) or all(block.images for block in instance.blocks)
        if header_apart:
            position = self._text(shared, HEADER, position)
        ends = [(len(shared), position)]
        for index in range(len(images)):
            position = self._place(shared, images[index], index, position)
            ends.append((len(shared), position))
        blocks = []
        for block in instance.blocks:
            if block.sees > len(instance.shared):
                raise ValueError(f"{instance.task}: a block sees {block.sees} of {len(instance.shared)} shared images")
            lead = "" if header_apart else HEADER
            blocks.append(self._block(block, images, *ends[block.sees], lead))
        if instance.more and not header_apart:
            raise ValueError(f"{instance.task}: an instance that grows must share an image or ask about some")
        return Encoded(instance.task, shared, blocks, images, ends, instance.more)

    def grow(self, encoded: Encoded) -> Encoded | None:
        """The same instance with the next of its further blocks; None when it has no more."""
        if not encoded.more:
            return None
        block, images = encoded.more[0](), list(encoded.images)
        blocks = [*encoded.blocks, self._block(block, images, *encoded.ends[block.sees], "")]
        return dataclasses.replace(encoded, blocks=blocks, images=images, more=encoded.more[1:])

    def chat(self, parts: Sequence[str | np.ndarray]) -> Encoded:
        """A rendered chat, as runs of text and uint8[H, W, 3] images in order, to be answered: one block, nothing
        shared, every image whole. Image tokens and the marks around them are not part of the text."""
        segment, images, position = Segment(), [], 0
        for part in parts:
            if isinstance(part, str):
                position = self._text(segment, part, position)
            else:
                images.append(self._image(part, len(images), 1.0))
                position = self._place(segment, images[-1], len(images) - 1, position)
        block = EncodedBlock(segment, 0, [], [], [], 0, None, len(segment) - 1, False, position)
        return Encoded("chat", Segment(), [block], images)

    def _image(self, pixels: np.ndarray, index: int, ratio: float) -> EncodedImage:
        grid = grid_of(pixels.shape, self.config.vision)
        total = grid[0] * grid[1]
        keep = total if index == 0 else max(1, round(ratio * total))
        anchor = index if keep == total else 0
        return EncodedImage(to_patches(pixels, self.config.vision), grid, keep, anchor)

    def _text(self, segment: Segment, text: str, position: int) -> int:
        return self._ids(segment, self.tokenizer.encode(text), position)

    def _ids(self, segment: Segment, ids, position: int) -> int:
        for offset, token in enumerate(ids):
            segment.tokens.append(token)
            segment.positions.append(text_position(self.config.positions, position + offset))
            segment.image.append(-1)
            segment.image_token.append(0)
        return position + len(ids)

    def _place(self, segment: Segment, image: EncodedImage, index: int, position: int) -> int:
        """Vision start, the kept tokens at the image's origin, vision end. Returns the position after them."""
        special = self.config.tokens
        position = self._ids(segment, [special.vision_start], position)
        origin = text_position(self.config.positions, position)
        segment.tokens += [special.image] * image.keep
        segment.positions += [origin] * image.keep
        segment.image += [index] * image.keep
        segment.image_token += range(image.keep)
        position = after_image(self.config.positions, position, image.grid)
        return self._ids(segment, [special.vision_end], position)

    def _block(self, block: Block, images: list[EncodedImage], limit: int, position: int, lead: str) -> EncodedBlock:
        segment, targets, words = Segment(), [], []
        map_start = 0
        if lead and block.images:
            position, lead = self._text(segment, lead, position), ""
        for pixels in block.images:
            images.append(self._image(pixels, len(images), 1.0))
            map_start = len(segment) + 1
            position = self._place(segment, images[-1], len(images) - 1, position)
        keyword_rows: list[tuple[int, float, float]] = []
        answer, detection, turns = 0, block.detection, block.turns
        if detection is not None:
            verdict = None if detection.defective is None else self.prompt.verdict(detection.defective)
            turns = (Turn(self.prompt.question, verdict), *turns)
        for index, turn in enumerate(turns):
            if index:
                lead = CLOSING + opening("user")
            text = lead + self.tokenizer.plain(turn.question) + TO_ANSWER
            if index == 0 and detection is not None:
                keyword_rows = self._keyword_rows(text, len(segment))
            position = self._text(segment, text, position)
            if index == 0:
                answer = len(segment) - 1
            if turn.answer is None:
                break
            encoded, said = self._answer(turn)
            if index == 0 and detection is not None:
                said[0] = VERDICT
            ids = [*encoded, self.config.tokens.chat_end] if turn.whole else encoded
            targets += [(len(segment) - 1 + offset, token) for offset, token in enumerate(ids)]
            words += [*said, 0] if turn.whole else said
            # The closing token is laid down with the text that follows it, if any does.
            position = self._ids(segment, ids[:-1], position)
        mask = None if detection is None else detection.mask
        return EncodedBlock(
            segment, limit, targets, words, keyword_rows, map_start, mask, answer, detection is not None, position
        )

    def _answer(self, turn: Turn) -> tuple[tuple[int, ...], list[int]]:
        """(ids of a turn's answer, what each says, as in Rows.target_words)."""
        text = self.tokenizer.plain(turn.answer)
        ids, offsets = self.tokenizer.encode_with_offsets(text)
        said = [0] * len(ids)
        for what, part in turn.words:
            if (start := text.find(part)) < 0:  # cut off (data/shorten.py)
                continue
            for index, (low, high) in enumerate(offsets):
                if low < start + len(part) and high > start:
                    said[index] = named(what)
        return ids, said

    def _keyword_rows(self, text: str, start: int) -> list[tuple[int, float, float]]:
        """Rows of every keyword's sub-tokens, weighted so that words count equally and sub-tokens within a word too.
        text: tokenised together, holds the detection question; start: its first slot."""
        ids, offsets = self.tokenizer.encode_with_offsets(text)
        base = text.index(self.prompt.question)
        rows: dict[int, list[float]] = {}
        for column, words in enumerate((self.prompt.abnormal, self.prompt.normal)):
            spans = [span for word in words for span in occurrences(self.prompt.question, word)]
            for a, b in spans:
                pieces = [i for i, (low, high) in enumerate(offsets) if low < base + b and high > base + a]
                for piece in pieces:
                    rows.setdefault(start + piece, [0.0, 0.0])[column] += 1.0 / len(pieces) / len(spans)
        return [(row, *weights) for row, weights in sorted(rows.items())]
