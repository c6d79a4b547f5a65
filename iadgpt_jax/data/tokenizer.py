"""The tokenizer: any Hugging Face tokenizer.json with Qwen's special tokens, or the tiny preset's own byte-level BPE.

The tiny one is trained in a second from the prompts and the procedural products' vocabulary, always to the same
merges, and travels with every checkpoint; nothing here needs the transformers package.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from iadgpt_jax.data.chat import CHAT_TEMPLATE, SPECIAL_TOKENS
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.qwen2_5_vl.config import SpecialTokens

# Qwen2's split: contractions, words with one leading mark, single digits, runs of punctuation, line breaks, blanks.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TINY_VOCABULARY = 1536
MOST_CACHED = 1000  # characters: a server must not keep what strangers write at length


class Tokenizer:
    """Text to ids and back, with the ids the model must know. Encoding short pieces is cached."""

    def __init__(self, backend: tokenizers.Tokenizer):
        self.backend = backend
        names = ("end_of_text", "chat_start", "chat_end", "vision_start", "vision_end", "image")
        ids = {name: backend.token_to_id(token) for name, token in zip(names, SPECIAL_TOKENS[:6], strict=True)}
        missing = [SPECIAL_TOKENS[names.index(name)] for name, value in ids.items() if value is None]
        if missing:
            raise InputError(f"tokenizer lacks {', '.join(missing)}: IADGPT needs a Qwen2.5-VL tokenizer")
        self.special = SpecialTokens(**ids)
        added = sorted({token.content for token in backend.get_added_tokens_decoder().values()} - {""}, key=len)
        self._added = re.compile("|".join(map(re.escape, reversed(added))))
        self._encode_cached = functools.lru_cache(maxsize=65536)(self._encode_uncached)

    def __reduce__(self):  # for a loader's workers; what is cached stays behind
        return type(self), (self.backend,)

    def _encode_uncached(self, text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        text = text.encode(errors="replace").decode()  # halves of characters, as JSON may carry them, become "?"
        encoding = self.backend.encode(text, add_special_tokens=False)
        return tuple(encoding.ids), tuple(encoding.offsets)

    def _encode(self, text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        return self._encode_cached(text) if len(text) <= MOST_CACHED else self._encode_uncached(text)

    def encode(self, text: str) -> tuple[int, ...]:
        return self._encode(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """(ids, character span of each id in text)."""
        return self._encode(text)

    def plain(self, text: str) -> str:
        """A text of foreign origin, that encodes to ordinary tokens only: a blank comes into what would be a special
        one, "<|im_end|>" is "< |im_end|>". Otherwise a caption could end a turn or open another."""
        while self._added.search(text):  # breaking one up can leave another that overlapped it
            text = self._added.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    @property
    def size(self) -> int:
        return self.backend.get_vocab_size()

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja as transformers reads them."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(directory / "tokenizer.json"))
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
            "clean_up_tokenization_spaces": False,
            "model_max_length": 131072,
        }
        (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
        (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)

    @classmethod
    def load(cls, directory: str | Path) -> Tokenizer:
        """The tokenizer in a directory. Raises InputError where its file is missing, damaged or another model's."""
        path = Path(directory) / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"no tokenizer at {path}: give a directory with the tokenizer.json of Qwen2.5-VL")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises no narrower class
            line = next(iter(str(error).splitlines()), "")
            raise InputError(f"{path} is damaged ({line[:200]}): get it again, or restore it from a backup") from error
        return cls(backend)


def train_tiny(corpus: Iterable[str]) -> Tokenizer:
    """Byte-level BPE over `corpus`, special tokens first, at most TINY_VOCABULARY entries. Same corpus, same merges."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    return Tokenizer(backend)
