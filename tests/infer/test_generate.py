"""Generation: the cache changes nothing, batches and padding change nothing, sampling follows the distribution."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance, Turn
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.generate import Choice, Generator, Progress, Sampling, _choose, lay_out, likeliest
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.rows import Rows
from tests.models.qwen2_5_vl.qwen_pair import Chat, hf_inputs, make_pair
from tests.small_iadgpt import draw_image, lively_params, small_config, small_encoder

CONFIG = small_config(language=dict(tied=False))  # with tied weights a random model repeats its last token
NEW = 12
NO_STOP = (-1,)  # no token of the vocabulary: answers run to their limit

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def params():
    return lively_params(CONFIG)


@pytest.fixture(scope="module")
def generator(params):
    return Generator(IADGPT(CONFIG), params, NO_STOP)


def prompt(seed: int, references: int, questions: list[list[tuple[str, str | None]]], ratio: float = 1.0) -> Encoded:
    """References shared by one block per list of (question, answer) turns, each with a query image."""
    rng = np.random.default_rng(seed)
    shared = tuple(draw_image(rng) for _ in range(references))
    blocks = tuple(
        Block(tuple(Turn(*turn) for turn in turns), (draw_image(rng, 3, 4),), references) for turns in questions
    )
    return small_encoder()(Instance("test", blocks, shared, ratio))


SHORT = prompt(0, 0, [[("Describe its surface.", None)]])
LONG = prompt(1, 2, [[("What is wrong with the last image?", "Nothing."), ("Where is the irregular region?", None)]])
SHARED = prompt(2, 2, [[("What is wrong?", None)], [("Describe the shape of the product.", None)]], ratio=0.4)


def naive(params, encoded: Encoded, block: int, count: int) -> list[int]:
    """Greedy tokens by running the whole prompt again for every token, its text lengthened by hand."""
    alone = dataclasses.replace(encoded, blocks=[encoded.blocks[block]])
    first = len(encoded.images) - len(encoded.blocks)  # every block has one image of its own
    segment = alone.blocks[0].segment
    segment = dataclasses.replace(segment, image=[first if i >= first else i for i in segment.image])
    alone.blocks[0] = dataclasses.replace(alone.blocks[0], segment=segment)
    alone = dataclasses.replace(alone, images=encoded.images[:first] + [encoded.images[first + block]])
    prompts = lay_out([alone], CONFIG.vision)
    last, position = int(prompts.last[0, 0]), int(prompts.position[0, 0])
    rows = Rows(*(field.copy() for field in prompts.rows))
    grow = [(0, 0), (0, NEW)]
    rows = rows._replace(
        **{name: np.pad(getattr(rows, name), grow) for name in ("tokens", "segment", "block", "limit", "image_token")},
        image_slot=np.pad(rows.image_slot, grow, constant_values=-1),
        positions=np.pad(rows.positions, [(0, 0), *grow]),
    )
    run = jax.jit(_all_logits)
    out = []
    for step in range(count):
        logits = np.asarray(run(params, rows))[0, last + step]
        out.append(int(logits.argmax()))
        at = last + step + 1
        rows.tokens[0, at], rows.positions[0, :, at] = out[-1], position + step
        for name in ("segment", "block", "limit"):
            getattr(rows, name)[0, at] = getattr(rows, name)[0, last]
    return out


def _all_logits(params, rows):
    model = IADGPT(CONFIG)
    return model.apply({"params": params}, rows, method=lambda m, r: m.logits(m(r, maps=False).hidden))


@pytest.mark.parametrize(
    "encoded, block", [(SHORT, 0), (LONG, 0), (SHARED, 0), (SHARED, 1)],
    ids=["no reference", "second turn", "compressed, first answer", "compressed, second answer"],
)  # fmt: skip
def test_greedy_equals_the_whole_forward_run_again_for_every_token(params, generator, encoded, block):
    answers = generator([encoded], NEW)[0]
    assert answers[block] == naive(params, encoded, block, NEW)


def test_a_ragged_batch_equals_its_prompts_alone(generator):
    prompts = [SHORT, LONG, SHARED]
    together = generator(prompts, NEW)
    assert together == [generator([p], NEW)[0] for p in prompts]
    assert len({tuple(answer) for blocks in together for answer in blocks}) == 4


def test_left_padding_equals_right_padding(generator):
    """Rows whose text is moved to their end, as a left-padding caller lays them out, give the same answers."""
    prompts, room, choice = generator._prepare([SHORT, LONG], NEW, None)
    prompts = jax.device_get(prompts)
    slots = prompts.rows.tokens.shape[1]
    moved = {name: getattr(prompts.rows, name).copy() for name in prompts.rows._fields}
    last = prompts.last.copy()
    for row in range(len(last)):
        by = slots - 1 - last[row, 0]
        for name in ("tokens", "segment", "block", "image_slot", "image_token"):
            moved[name][row] = np.roll(moved[name][row], by)
        moved["positions"][row] = np.roll(moved["positions"][row], by, axis=-1)
        moved["limit"][row] = np.roll(moved["limit"][row], by) + by
        last[row, 0] += by
    left = prompts._replace(rows=Rows(**moved), last=last)
    limit = np.int32(NEW)
    ours, _ = generator._generate(generator.params, generator.weights, left, choice, limit, room=room)
    right, _ = generator._generate(generator.params, generator.weights, prompts, choice, limit, room=room)
    np.testing.assert_array_equal(ours[:2], right[:2])


def test_an_answer_ends_before_its_stop_token_and_the_others_go_on(generator, params):
    free = generator([SHORT, LONG], NEW)
    token = next(token for token in free[0][0][2:] if token not in free[0][0][:2])
    first = [answers[0].index(token) if token in answers[0] else NEW for answers in free]
    stopping = Generator(generator.model, params, (token,))
    assert [blocks[0] for blocks in stopping([SHORT, LONG], NEW)] == [
        answers[0][:end] for answers, end in zip(free, first, strict=True)
    ]
    assert [blocks[0] for blocks in stopping([SHORT, LONG], 2)] == [answers[0][:2] for answers in free]


def test_streamed_tokens_are_those_of_the_batch(generator, params):
    whole = generator([LONG], NEW)[0][0]
    stream = generator.stream(LONG, NEW)
    assert next(stream) == whole[0]  # before the others are known
    assert [whole[0], *stream] == whole
    last = next(token for token in whole[2:] if token not in whole[:2])
    stopping = Generator(generator.model, params, (last,))
    assert list(stopping.stream(LONG, NEW)) == whole[: whole.index(last)]


def test_one_compilation_serves_prompts_and_lengths_of_one_size(generator, params):
    """Whichever generator of the model they are given to."""
    generator([prompt(3, 1, [[("What is wrong?", None)]])], 10)
    programs = generator._generate.func
    before, other = programs._cache_size(), Generator(IADGPT(CONFIG), params, NO_STOP)
    asked = ((generator, 4, "Describe its surface.", 9), (other, 5, "Where is the irregular region?", 11))
    for one, seed, question, new in asked:
        one([prompt(seed, 1, [[(question, None)]])], new)
    assert programs._cache_size() == before


def test_cold_or_narrow_sampling_is_greedy_and_seeds_decide(generator):
    greedy = generator([SHORT, LONG], NEW)
    assert generator([SHORT, LONG], NEW, Sampling(temperature=1e-4)) == greedy
    assert generator([SHORT, LONG], NEW, Sampling(temperature=1.0, top_p=1e-6)) == greedy
    one, same, other = (generator([SHORT, LONG], NEW, Sampling(1.0, seed=seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_sampled_tokens_follow_the_tempered_nucleus():
    """20 000 draws of one distribution: frequencies within four standard errors, nothing outside the nucleus."""
    draws, temperature, top_p = 20_000, 1.5, 0.8
    logits = np.random.default_rng(0).normal(0, 2, 12).astype(np.float32)
    expected = np.exp(logits.astype(np.float64) / temperature)
    expected /= expected.sum()
    order = np.argsort(-expected)
    nucleus = order[: int(np.searchsorted(np.cumsum(expected[order]), top_p)) + 1]
    outside = np.setdiff1d(np.arange(12), nucleus)
    expected[outside] = 0
    expected /= expected.sum()

    empty = Progress(jnp.int32(0), jnp.zeros((draws, 1, 1), jnp.int32), jnp.zeros((draws, 1), bool), ())
    choice = Choice(np.float32(temperature), np.float32(top_p), jax.random.key(3))
    chosen = _choose(NO_STOP, jnp.broadcast_to(logits, (draws, 1, 12)), choice, empty).tokens
    counts = np.bincount(np.asarray(chosen).ravel(), minlength=12) / draws
    assert 1 < len(nucleus) < 12 and counts[outside].sum() == 0
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws)).all()


def test_the_whole_distribution_stays_at_top_p_one():
    logits = jnp.array([[3.0, -50.0, 1.0]])
    np.testing.assert_array_equal(likeliest(logits, 1.0), logits)


@pytest.mark.parametrize("wrong", [dict(temperature=-1), dict(top_p=0), dict(top_p=1.5)])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("count", "new"), [(6, 32), pytest.param(20, 64, marks=pytest.mark.nightly)])
def test_greedy_tokens_equal_those_of_transformers(count, new):
    """New tokens of chats with images of different sizes in several turns, batched here, alone there."""
    pair = make_pair(CONFIG)
    encoder = small_encoder()
    rng = np.random.default_rng(7)
    texts = ["Is it flawless?", "And this one?", "Where is the defect?", "Describe its surface."]
    chats = []
    for _ in range(count):
        parts: list = [texts[rng.integers(4)]]
        for _ in range(rng.integers(0, 4)):
            parts += [draw_image(rng, *rng.integers(1, 6, 2)), texts[rng.integers(4)]]
        chats.append(parts)
    ours = Generator(pair.model, pair.params, NO_STOP)([encoder.chat(parts) for parts in chats], new)
    different = np.mean([len(set(answer[0])) for answer in ours])
    assert different > new / 4, "one token again and again would prove little"
    for parts, answer in zip(chats, ours, strict=True):
        ids = [list(encoder.tokenizer.encode(part)) if isinstance(part, str) else part for part in parts]
        inputs = hf_inputs(Chat(ids), CONFIG)
        theirs = pair.torch_model.generate(
            **inputs, max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert answer[0] == theirs[0, inputs["input_ids"].shape[1] :].tolist()


def test_a_prompt_with_answered_turns_is_laid_out_without_targets():
    """A verdict and a question answered before: history, of which nothing is to be learned here."""
    turns = (Turn("What is it?", "There is a dent.", (("kind", "dent"),)), Turn("Where is it?"))
    block = Block(turns, (draw_image(np.random.default_rng(0), 3, 4),), 0, Detection(True))
    encoder = small_encoder()
    prompts = lay_out([encoder(Instance("asked", (block,)))], encoder.config.vision)
    assert not prompts.rows.target_weights.any() and not prompts.rows.target_words.any()
    assert prompts.wanted[0, 0] and prompts.position[0, 0] > 0
