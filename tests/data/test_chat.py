"""Our chat template is the published one, and encoding an instance is tokenising its rendered chat."""

from __future__ import annotations

import functools
import json

import jinja2
import numpy as np
import pytest

from iadgpt_jax.data.chat import CHAT_TEMPLATE
from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.models.registry import preset
from tests.small_iadgpt import draw_image

TEXTS = (
    "Is it normal?", " leading blank", "trailing blank ", "two\n\nlines", "", "Schräge Fläche: 3×3 ü 漢字",
    "it's 12.5 mm", "{{ braces }} {% raw %}", "<b>&amp;</b>", "emoji 🙂\ttab",
)  # fmt: skip


@functools.cache
def compiled(template: str) -> jinja2.Template:
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)  # as transformers does


def render(template: str, messages: list, generation: bool) -> str:
    return compiled(template).render(messages=messages, add_generation_prompt=generation)


def draw_conversation(rng: np.random.Generator) -> list[dict]:
    """Random roles and contents: strings, lists of texts, images in every spelling the format allows, videos."""
    spellings = (
        {"type": "image"}, {"type": "image", "image": "a.png"}, {"image": "a.png"},
        {"type": "image_url", "image_url": "u"}, {"type": "video", "video": "a.mp4"},
    )  # fmt: skip
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": str(rng.choice(TEXTS))})
    for turn in range(int(rng.integers(1, 5))):
        if rng.random() < 0.4:
            content = str(rng.choice(TEXTS))
        else:
            content = [
                spellings[rng.integers(len(spellings))]
                if rng.random() < 0.4
                else {"type": "text", "text": str(rng.choice(TEXTS))}
                for _ in range(int(rng.integers(0, 5)))
            ]
        messages.append({"role": "user" if turn % 2 == 0 else "assistant", "content": content})
    return messages


def test_our_template_renders_what_the_published_one_does(shared_dir):
    published = json.loads((shared_dir / "qwen2_5_vl_7b" / "chat_template.json").read_text())["chat_template"]
    for seed in range(300):
        rng = np.random.default_rng(seed)
        messages, generation = draw_conversation(rng), bool(rng.integers(2))
        assert render(CHAT_TEMPLATE, messages, generation) == render(published, messages, generation)


def conversation_of(instance: Instance) -> list[dict]:
    """An instance of one block as the chat it stands for."""
    (block,) = instance.blocks
    images = [{"type": "image"}] * (block.sees + len(block.images))
    messages = []
    for number, turn in enumerate(block.turns):
        text = [{"type": "text", "text": turn.question}]
        messages.append({"role": "user", "content": images + text if number == 0 else text})
        if turn.answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return messages


def draw_instance(rng: np.random.Generator) -> Instance:
    """One block of one to three turns about up to four images, the last turn perhaps unanswered; awkward texts too."""
    texts = ("Schräg, 漢字 und 3.5 µm?", "What's  that", "a\nb", "12 34", " blank", "…")
    pool = (NORMALITY.question, prompts.REASON, *texts)
    turns = []
    for number in range(int(rng.integers(1, 4))):
        turns.append(Turn(str(rng.choice(pool)), str(rng.choice([*pool, "Yes", "No."]))))
        if number == 2 or rng.random() < 0.3:
            break
    if rng.random() < 0.3:
        turns[-1] = Turn(turns[-1].question, None)
    shared = tuple(draw_image(rng, *rng.integers(1, 4, 2)) for _ in range(rng.integers(0, 4)))
    own = tuple(draw_image(rng, *rng.integers(1, 4, 2)) for _ in range(rng.integers(0, 3)))
    ratio = float(rng.choice([1.0, 0.3]))
    return Instance("test", (Block(tuple(turns), own, sees=len(shared)),), shared, ratio)


def check_encoding(encoder: Encoder, seed: int) -> None:
    """Token ids are the rendered chat's, each image pad repeated for its kept tokens; targets are the answers."""
    rng = np.random.default_rng(seed)
    instance = draw_instance(rng)
    encoded = encoder(instance)
    block = encoded.blocks[0]
    ids = [*encoded.shared.tokens, *block.segment.tokens]

    unanswered = instance.blocks[0].turns[-1].answer is None
    rendered = render(CHAT_TEMPLATE, conversation_of(instance), generation=unanswered)
    pieces = rendered.split("<|image_pad|>")
    assert len(pieces) == len(encoded.images) + 1
    expanded = pieces[0]
    for image, piece in zip(encoded.images, pieces[1:], strict=True):
        expanded += "<|image_pad|>" * image.keep + piece
    whole = encoder.tokenizer.backend.encode(expanded, add_special_tokens=False).ids
    if not unanswered:  # the end of the last answer is predicted but not laid down; nothing follows it
        end = encoder.tokenizer.encode("<|im_end|>\n")
        assert tuple(whole[-len(end) :]) == end
        whole = whole[: -len(end)]
    assert ids == list(whole)

    # A target's slot comes right before its token: the answers and their ends, nothing else.
    start = len(encoded.shared)
    following = dict(enumerate([*ids[1:], encoder.config.tokens.chat_end]))
    for offset, token in block.targets:
        assert following[start + offset] == token
    said = [turn.answer for turn in instance.blocks[0].turns if turn.answer is not None]
    decoded = encoder.tokenizer.decode([token for _, token in block.targets], skip_special=False)
    assert decoded == "".join(answer + "<|im_end|>" for answer in said)
    if said:
        assert block.targets[0][0] == block.answer


@pytest.mark.parametrize("seed", range(60))
def test_encoded_ids_are_the_rendered_chats(seed):
    check_encoding(Encoder(preset("tiny"), tiny_tokenizer()), seed)


@pytest.fixture(scope="module")
def qwen_encoder(shared_dir):
    return Encoder(preset("7b"), Tokenizer.load(shared_dir / "qwen2_5_vl_7b"))


def test_encoded_ids_are_the_rendered_chats_with_qwens_own_tokenizer(qwen_encoder):
    assert qwen_encoder.tokenizer.special == preset("7b").tokens
    for seed in range(60):
        check_encoding(qwen_encoder, seed)


def test_transformers_renders_and_tokenises_our_saved_tokenizer_alike(tmp_path):
    """What a checkpoint carries serves AutoTokenizer: same template, same ids."""
    transformers = pytest.importorskip("transformers")
    tiny_tokenizer().save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        messages = draw_conversation(rng)
        rendered = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert rendered == render(CHAT_TEMPLATE, messages, True)
        assert theirs(rendered, add_special_tokens=False)["input_ids"] == list(tiny_tokenizer().encode(rendered))
