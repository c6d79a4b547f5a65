"""The public API: load a checkpoint, inspect products against good examples, ask about them, chat.

    inspector = Inspector.load(checkpoint)
    result = inspector.inspect("query.png", references=["good.png"])
    result.score, result.margin, result.defective, result.map, result.answer, result.explanation
    inspector.ask("Is the scratch deep?", "query.png", references=["good.png"], history=[("What is wrong?", "…")])

Inspections run on the prompts the model was trained on, with images squashed to its square; the references of the last
few calls stay read. Chats run on Qwen's template and native resolution. Shapes are rounded up, so functions compile for
a few sizes, not per call.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from iadgpt_jax.checkpoint.load import LoadedModel, load_model, trained_dtype
from iadgpt_jax.data.detection_prompt import DetectionPrompt, prompt_of
from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.images import resize_square
from iadgpt_jax.data.native_resolution import native_image, pixel_bounds_of
from iadgpt_jax.data.pack import pack
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.buckets import bucket, bucketed_row_shape
from iadgpt_jax.infer.generate import Generator, Sampling
from iadgpt_jax.infer.image_input import ImageInput, as_list, as_photograph
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.messages import Messages, check_length, parts_of, turns_of
from iadgpt_jax.infer.prefetch import prefetch
from iadgpt_jax.infer.prefix import RecentPrefixes
from iadgpt_jax.infer.scorer import Scorer
from iadgpt_jax.models.attention import choose
from iadgpt_jax.models.protocols import Model
from iadgpt_jax.models.registry import float_dtype, make_module
from iadgpt_jax.sharding import ShardingRules

QUERIES_AT_ONCE = 8
PREFIXES_KEPT = 4  # sets of references that need not be read again
EXPLANATION_TOKENS = 128
CHAT_TOKENS = 512
KEEP_PRECISE = ("gates", "patch_embed")  # read in float32 by the model whatever its dtype


class Asked(NamedTuple):
    """A question about a query; fields as the arguments of `Inspector.ask`."""

    question: str
    query: ImageInput
    references: Sequence[ImageInput] = ()
    history: Iterable = ()


class Said(NamedTuple):
    """An answer. whole: False where it was cut off at the longest that was allowed."""

    text: str
    whole: bool


class Inspector:
    """One model, ready to inspect. Make it with `Inspector.load`.

    ratio: share of tokens kept of every reference but the first (paper eq. 9); 1.0 keeps all. side: the square to
    which inspected images are squashed; default: the one of training. dtype: of computing; default: that of training.
    mesh: the devices the model was loaded onto, where it is too large for one (`sharding.make_mesh`; answers come
    fastest with all of them along its tensor axis). prompt: the detection prompt; default: the one of training.
    """

    def __init__(
        self, loaded: LoadedModel, *, ratio: float = 1.0, side: int | None = None, dtype: str | None = None,
        mesh: Mesh | None = None, prompt: DetectionPrompt | None = None,
    ):  # fmt: skip
        self.config, self.tokenizer, self.info = loaded.config, loaded.tokenizer, loaded.info
        self.step = loaded.step
        self.unit = self.config.vision.patch * self.config.vision.merge
        self.side = self.info["image_side"] if side is None else side
        self.ratio = ratio
        self._check_settings()
        kind = float_dtype("dtype", dtype or trained_dtype(loaded))
        self.model = make_module(self.config, kind, kernels=choose("auto", mesh, ShardingRules(), kind))
        self.params = lowered(loaded.params, kind)
        self.prompt = prompt or prompt_of(self.info)
        self.pixels = pixel_bounds_of(self.info)
        self.encoder = Encoder(self.config, self.tokenizer, self.prompt)
        special = self.config.tokens
        self._generator = Generator(self.model, self.params, (special.chat_end, special.end_of_text))
        if self.config.taps:
            self._scorer = Scorer(self.model, self.params, self.encoder, map_space=self.info["map_space"])
            self._prefix = self._no_prefixes()
        self._logits = jax.jit(lambda params, rows: self.model.apply({"params": params}, rows, method=_every_logit))

    @classmethod
    def load(
        cls, checkpoint: str | Path, *, ratio: float = 1.0, side: int | None = None, dtype: str | None = None,
        mesh: Mesh | None = None, prompt: DetectionPrompt | None = None,
    ) -> Inspector:  # fmt: skip
        """From a training workdir, one step of it, or a Hugging Face directory. Raises InputError, in one line."""
        if dtype is not None:
            float_dtype("dtype", dtype)  # before the weights are read
        return cls(load_model(checkpoint, mesh), ratio=ratio, side=side, dtype=dtype, mesh=mesh, prompt=prompt)

    def under(self, *, ratio: float, side: int) -> Inspector:
        """The same model under other settings, with the same weights and compiled functions; it keeps references of its
        own. Raises InputError for settings that cannot be."""
        other = copy.copy(self)
        other.ratio, other.side = ratio, side
        other._check_settings()
        if self.config.taps:
            other._prefix = other._no_prefixes()
        return other

    @property
    def tiles(self) -> tuple[int, int]:
        """Photographs are inspected whole; infer/tiles.py cuts them."""
        return (1, 1)

    # ---- Inspection ----

    def inspect(self, query: ImageInput, references: Sequence[ImageInput] = (), *, explain: bool = True) -> Inspection:
        """Inspect one product against any number of good examples (trained: 1, 2 and 4; none is allowed)."""
        return self.inspect_many([query], references, explain=explain)[0]

    def inspect_many(
        self, queries: Iterable[ImageInput], references: Sequence[ImageInput] = (), *, explain: bool = True
    ) -> list[Inspection]:
        """Inspect products of one category. Results equal those of `inspect`; the references are read once."""
        return list(self.inspections(queries, references, explain=explain))

    def inspections(
        self, queries: Iterable[ImageInput], references: Sequence[ImageInput] = (), *, explain: bool = True
    ) -> Iterator[Inspection]:
        """As `inspect_many`, handing out results as they come; photographs are read shortly before their turn."""
        if not self.config.taps:
            raise InputError(
                f"model {self.config.name!r} carries no anomaly maps (taps=False) and cannot inspect; it can chat"
            )
        shared = self._squares(references)
        prefix, queries = self._prefix(shared), as_list(queries)
        room = self._scorer.room(bucket(min(len(queries), QUERIES_AT_ONCE)))

        def read(start: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
            pictures = [as_photograph(query, self.unit) for query in queries[start : start + room]]
            return pictures, [resize_square(picture, self.side) for picture in pictures]

        for pictures, squares in prefetch(read, range(0, len(queries), room), ahead=1):
            margins, maps = jax.device_get(self._scorer.score(prefix, self._scorer.encode_images(squares, room)))
            words = self._explanations(squares, shared) if explain else [""] * len(squares)
            margins, maps = margins[:, 0], self._on_grid(maps[:, 0])
            for picture, margin, map_, text in zip(pictures, margins, maps, words, strict=False):
                answer = self.prompt.verdict(bool(margin > 0))
                yield Inspection(float(margin), map_, answer, text, picture.shape[:2])

    def ask(
        self, question: str, query: ImageInput, references: Sequence[ImageInput] = (), history: Iterable = (), *,
        max_new: int = EXPLANATION_TOKENS, sampling: Sampling | None = None,
    ) -> str:  # fmt: skip
        """Answer a question about the query, in words. history: (question, answer) pairs, or messages of text."""
        asked = Asked(question, query, references, history)
        return self.answer_many([asked], max_new=max_new, sampling=sampling)[0].text

    def answer_many(
        self, asked: Sequence[Asked | Messages], *, max_new: int = EXPLANATION_TOKENS, sampling: Sampling | None = None
    ) -> list[Said]:
        """Answer several in one batch: questions about queries, and chats as `chat` takes them."""
        answers = self._generator([self._encoded(one) for one in asked], max_new, sampling)
        return [Said(self.tokenizer.decode(tokens), len(tokens) < max_new) for (tokens,) in answers]

    # ---- Chat ----

    def chat(self, messages: Messages, *, max_new: int = CHAT_TOKENS, sampling: Sampling | None = None) -> str:
        """Answer a chat in the transformers format; images in any turn, at native resolution."""
        return self.chat_many([messages], max_new=max_new, sampling=sampling)[0]

    def chat_many(
        self, chats: Sequence[Messages], *, max_new: int = CHAT_TOKENS, sampling: Sampling | None = None
    ) -> list[str]:
        """Answer several chats in one batch."""
        return [said.text for said in self.answer_many(chats, max_new=max_new, sampling=sampling)]

    def stream(
        self, asked: Asked | Messages, *, max_new: int = CHAT_TOKENS, sampling: Sampling | None = None
    ) -> Iterator[str]:
        """As `chat`, or `answer_many` of one question, in pieces as they come; joined they are its answer. The
        generator's return value is its `Said`."""
        tokens, said = [], ""
        for token in self._generator.stream(self._encoded(asked), max_new, sampling):
            tokens.append(token)
            text = self.tokenizer.decode(tokens)
            if text.endswith("\ufffd"):  # a character of several tokens is not complete yet
                continue
            yield text[len(said) :]
            said = text
        whole = self.tokenizer.decode(tokens)
        if rest := whole[len(said) :]:
            yield rest
        return Said(whole, len(tokens) < max_new)

    def logits(self, messages: Messages) -> np.ndarray:
        """float32[T, V]: logits at every token of the templated chat with generation prompt, native resolution."""
        encoded = self._encode_chat(messages)
        packed = pack([encoded], 1, bucketed_row_shape([encoded], self.config.vision), self.config.vision)
        return np.asarray(self._logits(self.params, packed.rows)[0, : encoded.slots], np.float32)

    # ---- Between the two ----

    def _check_settings(self) -> None:
        if not 0 < self.ratio <= 1:
            raise InputError(f"ratio is {self.ratio}; choose a share of tokens above 0 and at most 1")
        if self.side < self.unit or self.side % self.unit:
            raise InputError(f"side is {self.side} pixels; choose a multiple of {self.unit}")

    def _no_prefixes(self) -> RecentPrefixes:
        scorer, ratio = self._scorer, self.ratio
        return RecentPrefixes(lambda squares: scorer.prefill(squares, ratio), PREFIXES_KEPT)

    def _encoded(self, asked: Asked | Messages) -> Encoded:
        return self._encode_asked(asked) if isinstance(asked, Asked) else self._encode_chat(asked)

    def _squares(self, references: Sequence[ImageInput]) -> tuple[np.ndarray, ...]:
        pictures = (as_photograph(reference, self.unit) for reference in as_list(references))
        return tuple(resize_square(picture, self.side) for picture in pictures)

    def _encode(self, turns: Sequence[Turn], queries: Sequence[np.ndarray], shared: tuple[np.ndarray, ...]) -> Encoded:
        """One block per query, all with the same turns, after the shared references."""
        blocks = tuple(Block(tuple(turns), (query,), len(shared)) for query in queries)
        return self.encoder(Instance("inspect", blocks, shared, self.ratio))

    def _encode_asked(self, asked: Asked) -> Encoded:
        turns = [*(Turn(*pair) for pair in turns_of(asked.history)), Turn(asked.question)]
        length = sum(len(turn.question) + len(turn.answer or "") for turn in turns)
        check_length(length, "the question with its history")
        square = resize_square(as_photograph(asked.query, self.unit), self.side)
        return self._encode(turns, [square], self._squares(asked.references))

    def _on_grid(self, maps: np.ndarray) -> np.ndarray:
        """float32[Q, N] of square images, their cells first -> float32[Q, h, w]."""
        cells = self.side // (self.config.vision.patch * self.config.vision.merge)
        return maps[:, : cells**2].reshape(-1, cells, cells)

    def _explanations(self, squares: Sequence[np.ndarray], shared: tuple[np.ndarray, ...]) -> list[str]:
        encoded = self._encode([Turn(prompts.REASON)], squares, shared)
        return [self.tokenizer.decode(tokens) for tokens in self._generator([encoded], EXPLANATION_TOKENS)[0]]

    def _encode_chat(self, messages: Messages) -> Encoded:
        vision, pixels = self.config.vision, self.pixels
        parts = parts_of(messages, self.tokenizer.plain)
        return self.encoder.chat(
            [part if isinstance(part, str) else native_image(part, vision, pixels) for part in parts]
        )


def lowered(params: dict, dtype: jnp.dtype) -> dict:
    """The parameters in the dtype they are computed in, so that nothing is cast again at every token."""

    def lower(path, leaf):
        return leaf if path[-1].key in KEEP_PRECISE else jnp.asarray(leaf, dtype)

    return jax.tree_util.tree_map_with_path(lower, params)


def _every_logit(model: Model, rows):
    return model.logits(model(rows, maps=False).hidden)
