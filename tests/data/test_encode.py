"""Where keywords, answers and positions stand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import DetectionPrompt
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance, Turn
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.data.tokenizer import Tokenizer, train_tiny
from iadgpt_jax.models.answer_loss import WORDS, named
from iadgpt_jax.models.registry import preset
from tests.small_iadgpt import apart, detection, draw_image, inspection

TINY = Encoder(preset("tiny"), tiny_tokenizer())
QWEN_POSITIONS = Encoder(dataclasses.replace(preset("tiny"), positions="qwen"), tiny_tokenizer())


def one_detection(images: int = 1) -> Instance:
    rng = np.random.default_rng(0)
    pictures = tuple(draw_image(rng, 2, 2) for _ in range(images))
    return Instance("test", (Block(images=pictures, detection=Detection(False)),))


def asking(text: str, abnormal, normal=(), encoder: Encoder = TINY) -> Encoder:
    prompt = DetectionPrompt("test", text, "Yes", "No", abnormal, normal)
    return Encoder(encoder.config, encoder.tokenizer, prompt)


def keyword_texts(encoder: Encoder):
    """[(decoded token, abnormal weight, normal weight)] of the keyword rows of its detection question."""
    block = encoder(one_detection()).blocks[0]
    return [(encoder.tokenizer.decode([block.segment.tokens[row]]), a, n) for row, a, n in block.keyword_rows]


def test_keywords_of_the_detection_question_are_found_and_weigh_the_same():
    found = keyword_texts(TINY)
    weights = {text.strip(): (abnormal, normal) for text, abnormal, normal in found}
    third, half = pytest.approx(1 / 3), pytest.approx(1 / 2)
    assert weights == {
        "defect": (third, 0), "anomaly": (third, 0), "abnormal": (third, 0), "normal": (0, half), "flawless": (0, half),
    }  # fmt: skip


def test_normal_is_not_found_inside_abnormal():
    found = keyword_texts(asking("Is it abnormal or normal?", ("abnormal",), ("normal",)))
    assert [(text.strip(), a, n) for text, a, n in found] == [("abnormal", 1, 0), ("normal", 0, 1)]
    with pytest.raises(ValueError, match="lacks the keywords.*normal"):
        asking("Is it abnormal?", ("abnormal",), ("normal",))


def test_words_weigh_equally_whatever_their_pieces():
    """With single letters as tokens each letter of a word has its share of the word's weight; repeated words share."""
    letters = Encoder(preset("tiny"), train_tiny(["~"]))
    found = keyword_texts(asking("Any defect, any anomaly, or a Defect?", ("defect", "anomaly"), ("or",), letters))
    assert "".join(letter for letter, *_ in found) == "defectanomalyorDefect"
    spans = {"defect": (0, 6, 3), "anomaly": (6, 13, 3), "or": (13, 15, 1), "Defect": (15, 21, 3)}
    for start, stop, share in spans.values():
        column = 2 if share == 1 else 1
        weights = [row[column] for row in found[start:stop]]
        np.testing.assert_allclose(weights, 1 / (stop - start) / share)


def test_rows_of_a_question_after_its_images_come_after_them():
    """The causal mask lets a keyword see the query image only if it stands behind it."""
    block = TINY(one_detection(images=2)).blocks[0]
    last = [at for at, image in enumerate(block.segment.image) if image == 1]
    assert block.map_start == last[0]
    assert min(row for row, *_ in block.keyword_rows) > last[-1]


def naive_positions(parts: list) -> np.ndarray:
    """int[3, T]: M-RoPE over a list of text lengths and (high, wide) grids, as Qwen2.5-VL's authors define it: text
    advances all three axes; an image starts one behind the text, spans rows and columns, and the text goes on behind
    the largest value so far."""
    columns, largest = [], -1
    for part in parts:
        start = largest + 1
        if isinstance(part, int):
            columns += [(start + i,) * 3 for i in range(part)]
        else:
            columns += [(start, start + row, start + column) for row in range(part[0]) for column in range(part[1])]
        largest = max(max(c) for c in columns)
    return np.array(columns).T


def spread(encoded, index=0) -> np.ndarray:
    """int[3, T] of shared part and one block alone, an image token's row and column added as the model does."""
    block = encoded.blocks[index]
    columns = []
    for segment, length in ((encoded.shared, block.limit), (block.segment, len(block.segment))):
        for slot in range(length):
            t, h, w = segment.positions[slot]
            if segment.image[slot] >= 0:
                wide = encoded.images[segment.image[slot]].grid[1]
                h, w = h + segment.image_token[slot] // wide, w + segment.image_token[slot] % wide
            columns.append((t, h, w))
    return np.array(columns).T


def parts_of(encoded, block) -> list:
    """Text lengths and grids in order, counted from the tokens themselves."""
    parts: list = []
    slots = list(zip(encoded.shared.tokens, encoded.shared.image, strict=True))[: block.limit]
    slots += zip(block.segment.tokens, block.segment.image, strict=True)
    before = -1
    for _, image in slots:
        if image < 0:
            parts = [*parts[:-1], parts[-1] + 1] if parts and isinstance(parts[-1], int) else [*parts, 1]
        elif image != before:
            parts.append(encoded.images[image].grid)
        before = image
    return parts


def draw_sizes(seed: int) -> Instance:
    rng = np.random.default_rng(seed)
    shared = tuple(draw_image(rng, *rng.integers(1, 6, 2)) for _ in range(rng.integers(0, 4)))
    blocks = tuple(detection(rng, sees, *rng.integers(1, 6, 2), masked=False) for sees in range(len(shared) + 1))
    return Instance("test", blocks, shared)


@pytest.mark.parametrize("seed", range(20))
def test_qwen_positions_are_m_rope_of_each_block_alone(seed):
    encoded = QWEN_POSITIONS(draw_sizes(seed))
    for index, block in enumerate(encoded.blocks):
        expected = naive_positions(parts_of(encoded, block))
        np.testing.assert_array_equal(spread(encoded, index), expected)
        assert block.next_position == expected.max() + 1


@pytest.mark.parametrize("seed", range(5))
def test_aligned_positions_restart_rows_and_columns_at_every_image(seed):
    """All images span the same rows and columns from 0, text stays at 0, only time advances, by one per image as
    per text token."""
    encoded = TINY(draw_sizes(seed))
    for index, block in enumerate(encoded.blocks):
        expected, at = [], 0
        for part in parts_of(encoded, block):
            if isinstance(part, int):
                expected += [(at + i, 0, 0) for i in range(part)]
                at += part
            else:
                expected += [(at, row, column) for row in range(part[0]) for column in range(part[1])]
                at += 1
        np.testing.assert_array_equal(spread(encoded, index), np.array(expected).T)


@pytest.mark.parametrize("encoder", [TINY, QWEN_POSITIONS], ids=["aligned", "qwen"])
def test_text_behind_a_compressed_image_stands_where_it_would_have_stood(encoder):
    whole, short = (encoder(inspection(0, ratio=ratio)) for ratio in (1.0, 0.2))
    assert len(short.shared) < len(whole.shared)
    for a, b in zip(whole.blocks, short.blocks, strict=True):
        assert a.segment.positions == b.segment.positions
        assert a.next_position == b.next_position

    def text(segment):
        return [place for place, image in zip(segment.positions, segment.image, strict=True) if image < 0]

    assert text(whole.shared) == text(short.shared)


@pytest.mark.parametrize("encoder", [TINY, QWEN_POSITIONS], ids=["aligned", "qwen"])
def test_a_block_is_encoded_as_if_alone_with_the_references_it_sees(encoder):
    instance = inspection(1, shots=(1, 2))
    together = encoder(instance)
    for block, single in zip(together.blocks, apart(instance), strict=True):
        alone = encoder(single)
        assert block.limit == alone.blocks[0].limit == len(alone.shared)
        assert block.segment.tokens == alone.blocks[0].segment.tokens
        assert block.segment.positions == alone.blocks[0].segment.positions
        assert block.targets == alone.blocks[0].targets and block.keyword_rows == alone.blocks[0].keyword_rows
        assert together.shared.tokens[: block.limit] == alone.shared.tokens


def test_a_chat_in_parts_is_encoded_like_an_instance():
    """`Encoder.chat` over a rendered chat gives the slots an instance of the same conversation has."""
    rng = np.random.default_rng(0)
    reference, query = draw_image(rng, 2, 3), draw_image(rng, 3, 1)
    block = Block((Turn("What is wrong?", "Nothing."), Turn("Sure?", None)), (query,), sees=1)
    instance = TINY(Instance("test", (block,), (reference,)))
    head = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    middle = "<|im_end|>\n<|im_start|>assistant\n"
    tail = f"What is wrong?{middle}Nothing.<|im_end|>\n<|im_start|>user\nSure?{middle}"
    chat = TINY.chat([head, reference, query, tail])
    own = chat.blocks[0].segment
    assert own.tokens == instance.shared.tokens + instance.blocks[0].segment.tokens
    assert own.positions == instance.shared.positions + instance.blocks[0].segment.positions
    assert chat.blocks[0].next_position == instance.blocks[0].next_position


def test_a_tokenizer_without_vision_tokens_is_refused(tmp_path):
    from iadgpt_jax.errors import InputError

    with pytest.raises(InputError, match="no tokenizer at"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}')
    with pytest.raises(InputError, match="lacks .*<|image_pad|>"):
        Tokenizer.load(tmp_path)


def test_targets_that_say_something_are_known_apart():
    """The verdict's first token, and of a reason the words that it marks, wherever they are split; a part that was cut
    off is nowhere."""
    rng = np.random.default_rng(0)
    marks = (("kind", "missing part"), ("place", "top left."), ("place", "remedy"))
    turns = (Turn("What is wrong?", "There is a missing part at the top left.", marks), Turn("Sure?", "Yes."))
    block = TINY(Instance("test", (Block(turns, (draw_image(rng, 2, 2),), 0, Detection(True)),))).blocks[0]
    assert len(block.target_words) == len(block.targets)
    said = {}
    for (_, token), word in zip(block.targets, block.target_words, strict=True):
        said[word] = said.get(word, "") + TINY.tokenizer.decode([token])
    names = {0: "nothing", **{named(word): word for word in WORDS}}
    assert {names[word]: text for word, text in said.items() if word} == {
        "verdict": "No", "kind": " missing part", "place": " top left.",
    }  # fmt: skip
    assert said[0] == "There is a at the" + "Yes."
