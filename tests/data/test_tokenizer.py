"""The tiny tokenizer: always the same, Qwen's special tokens first, every prompt in whole words."""

from __future__ import annotations

import string

import numpy as np

from iadgpt_jax.data.chat import SPECIAL_TOKENS
from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.data.tokenizer import MOST_CACHED, Tokenizer
from iadgpt_jax.models.registry import preset
from iadgpt_jax.procedural import corpus
from iadgpt_jax.procedural.facts import KINDS


def test_special_ids_are_the_presets():
    tokenizer = tiny_tokenizer()
    assert tokenizer.special == preset("tiny").tokens
    assert [tokenizer.backend.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    for number, token in enumerate(SPECIAL_TOKENS):
        assert tokenizer.encode(token) == (number,)


def test_vocabulary_fits_the_preset():
    assert tiny_tokenizer().size <= preset("tiny").language.vocab


def test_training_it_again_gives_the_same_file(tmp_path):
    tiny_tokenizer().save(tmp_path / "a")
    tiny_tokenizer.__wrapped__().save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    tiny_tokenizer().save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    for sentence in prompts.corpus():
        assert loaded.encode(sentence) == tiny_tokenizer().encode(sentence)


def test_any_text_comes_back():
    """Byte level: no text is out of vocabulary."""
    rng = np.random.default_rng(0)
    letters = string.printable + "äöüßéñ×µ漢字🙂​"
    for length in rng.integers(0, 60, 200):
        text = "".join(rng.choice(list(letters), length))
        assert tiny_tokenizer().decode(tiny_tokenizer().encode(text)) == text


def test_prompts_are_made_of_whole_words():
    """A word of a prompt or of a procedural description is one token, so a tiny model need not learn to spell."""
    tokenizer = tiny_tokenizer()
    for sentence in prompts.corpus():
        pieces = [tokenizer.decode([token]) for token in tokenizer.encode(sentence)]
        assert [piece for piece in pieces if piece.strip().isalpha()] == _words(sentence), sentence
    broken, total = 0, 0
    for sentence in corpus():
        for word in set(_words(sentence)):
            total += 1
            broken += len(tokenizer.encode(word)) > 1
    assert broken / total < 0.01


def test_kinds_of_defects_are_whole_words_that_begin_apart():
    """In an answer they follow a blank. That the first token tells them apart is what a loss of kinds is about."""
    tokenizer = tiny_tokenizer()
    first = tokenizer.encode("There is a")
    pieces = {kind: tokenizer.encode(f"There is a {kind} at the top.")[len(first) :] for kind in KINDS}
    assert len({ids[0] for ids in pieces.values()}) == len(KINDS)
    for kind, ids in pieces.items():
        words = [tokenizer.decode([token]) for token in ids[: len(kind.split())]]
        assert words == [f" {word}" for word in kind.split()]


def _words(sentence: str) -> list[str]:
    """Runs of letters, each with the blank before it."""
    words, word = [], ""
    for letter in sentence + "\0":
        if letter.isalpha() or (letter == " " and not word):
            word += letter
            continue
        if word.strip():
            words.append(word)
        word = letter if letter == " " else ""
    return words


def test_answers_of_a_detection_are_single_different_tokens():
    """The score reads the first answer token, so the two must differ there."""
    yes, no = (tiny_tokenizer().encode(answer) for answer in (NORMALITY.normal_answer, NORMALITY.anomalous_answer))
    assert len(yes) == len(no) == 1 and yes != no


def test_halves_of_characters_become_question_marks():
    assert tiny_tokenizer().encode("a\ud800b") == tiny_tokenizer().encode("a?b")


def test_long_texts_are_not_kept():
    tokenizer = Tokenizer(tiny_tokenizer().backend)
    for text in ("short", "long " * MOST_CACHED):
        assert tokenizer.encode(text) == tokenizer.encode(text)
    assert tokenizer._encode_cached.cache_info().currsize == 1
