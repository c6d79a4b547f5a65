"""One person's bench in the app: the product at hand, the parts inspected against it, and the talk about them.

Knows nothing of the page (app.py shows it). Work for the model goes through the one device thread, so that people who
use the app at once share batches and nobody's long answer holds up the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iadgpt_jax.data.images import read_bytes
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.inspector import Asked
from iadgpt_jax.infer.product import Product, make_in_steps
from iadgpt_jax.infer.product_file import open_product, product_bytes
from iadgpt_jax.serve.device import Device
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.photographs import Photograph, at_most, decoded, to_inspect
from iadgpt_jax.serve.ready import Catalog, Ready

UNNAMED = "unsaved"
MOST_PARTS = 200
CHAT_TOKENS = 256


@dataclass(frozen=True)
class Shop:
    """What all benches share."""

    catalog: Catalog
    device: Device
    limits: Limits
    hands: Executor

    async def by_hand(self, work, *arguments):
        """Work for the host, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.hands, work, *arguments)


@dataclass
class Judged:
    """A part and what was found. explanation: "" until it was asked for."""

    photograph: Photograph
    found: Inspection
    explanation: str = ""


class Bench:
    """State of one session. Raises InputError or Refused, in one line, for whatever cannot be done."""

    def __init__(self, shop: Shop):
        self.shop = shop
        self.ready: Ready | None = None
        self.whole: Product | None = None  # with its references as they were given
        self.judged: list[Judged] = []
        self.shown = 0
        self.messages: list[dict] = []
        self.reading_seconds = self.part_seconds = 0.0
        self._made_of: tuple | None = None  # references and settings of the product at hand, where `use` made it
        self._measured: tuple[str, ...] = ()  # the further good parts that its threshold was chosen by
        self._kept_as = ""  # its name among the saved products, if it is one

    # ---- The product ----

    async def use(
        self, references: Sequence[str], shots: int, ratio: float, tiles: tuple[int, int],
        further: Sequence[str] = (), share: float | None = None,
    ) -> None:  # fmt: skip
        """Take the first `shots` of these photographs as references; with a share, choose the threshold, too. Without
        one, a product at hand that is made of the same is kept, and so is the threshold that was chosen for it."""
        made_of, further = (tuple(references)[:shots], ratio, tiles), tuple(further)
        same = made_of == self._made_of
        if same and share is None:
            return
        if same and further == self._measured and self.whole.threshold.good:
            await self.choose(share)
            return
        catalog = self.shop.catalog
        pictures = [await self._read(path) for path in made_of[0]]
        others = [await self._read(path) for path in further]
        inspector = catalog.under(ratio, catalog.inspector.side, tiles)
        start = time.perf_counter()
        making = self.shop.device.steps(
            lambda: make_in_steps(UNNAMED, pictures, inspector, catalog.checkpoint, others, share)
        )
        try:
            async for _ in making:
                pass
        finally:
            making.cancel()
        self.reading_seconds = time.perf_counter() - start
        await self._take(making.value, same_parts=same)
        self._made_of, self._measured = made_of, further

    async def choose(self, share: float) -> None:
        """The threshold for another share, from what was measured."""
        if self.whole is None:
            raise InputError("there is no product yet: give two good examples or more, and choose a threshold")
        await self._take(self.whole.with_share(share), same_parts=True)

    async def save(self, name: str) -> None:
        """Keep the product at hand under a name: its own, where it was opened or saved before, or one that is free."""
        if self.whole is None:
            raise InputError("there is no product yet: give good examples and inspect a part first")
        product = dataclasses.replace(self.whole, name=name)
        await self.shop.by_hand(self.shop.catalog.save, product, name == self._kept_as)
        await self._take(product, same_parts=True)
        self._kept_as = name

    async def open(self, source: str | Path) -> None:
        """A product of the catalog by its name, or an exported file by its path, which is kept, too."""
        catalog = self.shop.catalog
        if isinstance(source, Path):
            product = await self.shop.by_hand(_imported, source, catalog)
        else:
            product = await self.shop.by_hand(catalog.whole, source)
            product.check_made_with(catalog.checkpoint, catalog.inspector.prompt)
        await self._take(product)
        self._kept_as = product.name

    async def _take(self, product: Product, same_parts: bool = False) -> None:
        """same_parts: its references and settings are those of the product before, so that what was found and said of
        parts still holds."""
        self.ready = await self.shop.by_hand(self.shop.catalog.ready_of, product)
        self.whole = product
        if not same_parts:
            self._made_of, self._measured, self._kept_as = None, (), ""
            self.judged, self.shown, self.messages = [], 0, []

    # ---- Parts ----

    async def inspect(self, paths: Sequence[str]) -> None:
        """Inspect photographs, as many at once as the model takes; the most defective one is shown first."""
        if self.ready is None:
            raise InputError("give a photograph of a good part first")
        if not 1 <= len(paths) <= MOST_PARTS:
            raise InputError(f"{len(paths)} parts: give 1 to {MOST_PARTS} photographs to inspect")
        ready, limits = self.ready, self.shop.limits
        judged: list[Judged] = []
        start = time.perf_counter()
        for first in range(0, len(paths), limits.at_once):
            photographs = await asyncio.gather(
                *(self._photograph(path, ready) for path in paths[first : first + limits.at_once])
            )
            futures = self.shop.device.inspect(ready, [one.square for one in photographs], False)
            try:
                found = await asyncio.gather(*map(asyncio.wrap_future, futures))
            finally:
                for future in futures:
                    future.cancel()
            judged += map(Judged, photographs, found)
        self.part_seconds = (time.perf_counter() - start) / len(paths)
        self.judged, self.messages = judged, []
        self.shown = max(range(len(judged)), key=lambda at: judged[at].found.margin)

    @property
    def part(self) -> Judged:
        """The one that is shown."""
        if not self.judged:
            raise InputError("no part is inspected yet; inspect one first")
        return self.judged[self.shown]

    def rejects(self, judged: Judged) -> bool:
        """By the threshold of the product at hand."""
        return self.ready.product.threshold.rejects(judged.found.margin)

    async def explain(self) -> AsyncIterator[str]:
        """The explanation of the part that is shown, longer and longer."""
        part = self.part
        if part.explanation:
            yield part.explanation
            return
        asked = Asked(prompts.REASON, part.photograph.square, self.ready.product.references)
        async with contextlib.aclosing(self._speech(asked)) as words:
            async for text in words:
                yield text
        part.explanation = text

    # ---- Talk ----

    async def say(self, text: str, paths: Sequence[str] = ()) -> AsyncIterator[str]:
        """A question about the part that is shown, or, from the first photograph that is sent along, a chat that keeps
        all photographs. The answer, longer and longer."""
        sent = [{"type": "image", "image": await self._read(path)} for path in paths]
        pictures = sum(part["type"] == "image" for message in self.messages for part in message["content"]) + len(sent)
        if pictures > self.shop.limits.chat_images:
            raise InputError(f"the chat has {pictures} photographs, at most {self.shop.limits.chat_images}; clear it")
        message = {"role": "user", "content": [*sent, {"type": "text", "text": text}]}
        chat = [*self.messages, message]
        if self.ready and self.judged and not pictures:
            texts = [one["content"][-1]["text"] for one in chat]
            history = list(zip(texts[:-1:2], texts[1::2], strict=True))
            asked = Asked(text, self.part.photograph.square, self.ready.product.references, history)
        else:
            asked = [dict(one) for one in chat]
            if self.judged:  # the part that the talk is about comes first
                shown = {"type": "image", "image": self.part.photograph.shown}
                asked[0] = {"role": "user", "content": [shown, *asked[0]["content"]]}
        answer = ""
        async with contextlib.aclosing(self._speech(asked)) as words:
            async for answer in words:
                yield answer
        self.messages = [*chat, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]

    async def _speech(self, asked: Asked | list[dict]) -> AsyncIterator[str]:
        """What was said so far, after each piece."""
        inspector = self.ready.chat if self.ready else self.shop.catalog.inspector
        steps = self.shop.device.steps(lambda: inspector.stream(asked, max_new=CHAT_TOKENS))
        said = ""
        try:
            async for piece in steps:
                said += piece
                yield said
            if not said:
                yield said
        finally:
            steps.cancel()

    # ---- Files ----

    async def _read(self, path: str) -> np.ndarray:
        picture = await self.shop.by_hand(_decoded_file, path)
        return at_most(picture, 4 * self.shop.limits.shown_side)

    async def _photograph(self, path: str, ready: Ready) -> Photograph:
        return await self.shop.by_hand(_to_inspect, path, ready, self.shop.limits.shown_side)


def _decoded_file(path: str) -> np.ndarray:
    return decoded(read_bytes(path), Path(path).name)


def _imported(path: Path, catalog: Catalog) -> Product:
    """The product in an exported file, saved. Raises InputError where another one has its name."""
    product = open_product(path)
    product.check_made_with(catalog.checkpoint, catalog.inspector.prompt)
    if product.name not in catalog.names() or product_bytes(catalog.whole(product.name)) != product_bytes(product):
        catalog.save(product)
    return product


def _to_inspect(path: str, ready: Ready, shown_side: int) -> Photograph:
    return to_inspect(read_bytes(path), Path(path).name, ready.canvas, ready.inspector.unit, shown_side)


def image_tokens(side: int, unit: int, shots: int, ratio: float, tiles: tuple[int, int]) -> tuple[int, int]:
    """(of the references, of the part): tokens that the model reads of the images of one inspection."""
    cells, many = (side // unit) ** 2, tiles[0] * tiles[1]
    return many * (cells + (shots - 1) * round(ratio * cells)), many * cells
