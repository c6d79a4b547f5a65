"""The one thread that runs the model.

Photographs of one product that wait together are inspected together, up to `at_once` of them, whoever sent them; nobody
waits for a batch to fill. Longer work (chats, new products) comes as generators and goes on by one step each between
two batches, so that a long answer holds up nobody. What a client no longer waits for is skipped, at no one else's cost.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.metrics import Metrics
from iadgpt_jax.serve.ready import Ready
from iadgpt_jax.serve.refusals import Refused

LATE = "it was not this one's turn in time; send it again"


@dataclass
class _Part:
    """One photograph, squashed to the model's square, that waits for its inspection until `until`, by
    time.monotonic()."""

    ready: Ready
    square: np.ndarray
    explain: bool
    until: float
    future: Future[Inspection] = field(default_factory=Future)

    def goes_with(self, other: _Part) -> bool:
        return self.ready is other.ready and self.explain == other.explain


class Steps:
    """Work that comes in steps. As an asynchronous iterator it gives what the generator yields; `value` is what it
    returned. Made and read in one event loop; leaving it early needs `cancel`."""

    def __init__(self, begin: Callable[[], Iterator[Any]], until: float):
        self.begin, self.until, self.cancelled, self.value = begin, until, False, None
        self._loop, self._events = asyncio.get_running_loop(), asyncio.Queue()

    def tell(self, kind: str, value: Any) -> None:
        """From the device's thread: something was yielded, returned or raised."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, (kind, value))
        except RuntimeError:  # the loop was closed: nobody reads any more
            self.cancelled = True

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            kind, value = await self._events.get()
            if kind == "yielded":
                yield value
                continue
            if kind == "raised":
                raise value
            self.value = value
            return


class Device:
    """Runs what is submitted, in a thread of its own, until `close`."""

    def __init__(self, limits: Limits, metrics: Metrics):
        self.limits, self.metrics = limits, metrics
        self._changed = threading.Condition()
        self._parts: deque[_Part] = deque()
        self._waiting: deque[Steps] = deque()
        self._active: list[tuple[Steps, Iterator[Any]]] = []
        self._closing = False
        metrics.queue.set_function(lambda: len(self._parts) + len(self._waiting))
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    @property
    def _busy(self) -> bool:
        """Whether anything waits or is under way."""
        return bool(self._parts or self._waiting or self._active)

    def inspect(self, ready: Ready, squares: Sequence[np.ndarray], explain: bool) -> list[Future[Inspection]]:
        """Queue photographs of a product, squashed to its square. A future that is cancelled costs nothing more.

        Raises:
          Refused: too much waits already, or the server is stopping.
        """
        parts = [_Part(ready, square, explain, time.monotonic() + self.limits.seconds) for square in squares]
        with self._changed:
            self._check_room(len(self._parts) + len(parts), "photographs")
            self._parts.extend(parts)
            self._changed.notify()
        return [part.future for part in parts]

    def steps(self, begin: Callable[[], Iterator[Any]]) -> Steps:
        """Queue work that comes in steps; call it in the event loop that reads it. Raises Refused as `inspect`."""
        steps = Steps(begin, time.monotonic() + self.limits.seconds)
        with self._changed:
            self._check_room(len(self._waiting) + 1, "chats")
            self._waiting.append(steps)
            self._changed.notify()
        return steps

    def close(self) -> None:
        """Finish what was queued, then stop. Nothing is taken on meanwhile."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _check_room(self, count: int, what: str) -> None:
        if self._closing:
            raise Refused("unavailable", "the server is stopping; send this to another, or later")
        if count > self.limits.queue:
            raise Refused("busy", f"{self.limits.queue} {what} wait already; send this again in a moment")

    # ---- In the device's thread ----

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._busy:
                    if self._closing:
                        return
                    self._changed.wait()
                batch = self._take()
            if batch:
                self.metrics.batches.observe(len(batch))
                self._inspect(batch)
            self._begin()
            self._active = [pair for pair in self._active if self._step(*pair)]

    def _take(self) -> list[_Part]:
        """The photographs of the next batch: the first that waits, and those behind it that go with it."""
        batch: list[_Part] = []
        left: deque[_Part] = deque()
        while self._parts:
            part = self._parts.popleft()
            if batch and (len(batch) == self.limits.at_once or not part.goes_with(batch[0])):
                left.append(part)
            elif self._wanted(part):
                batch.append(part)
        self._parts = left
        return batch

    def _wanted(self, part: _Part) -> bool:
        """Whether anybody still waits for it; if so, it can be cancelled no more."""
        if part.future.set_running_or_notify_cancel():
            if time.monotonic() <= part.until:
                return True
            part.future.set_exception(Refused("unavailable", LATE))
        self.metrics.abandoned.inc()
        return False

    def _inspect(self, batch: Sequence[_Part]) -> None:
        ready = batch[0].ready
        try:
            squares = [part.square for part in batch]
            found = list(ready.inspector.inspections(squares, ready.product.references, explain=batch[0].explain))
        except Exception as error:  # whatever it is, it belongs to the photographs and not to the thread
            if len(batch) > 1:  # one of them must not fail the others
                for part in batch:
                    self._inspect([part])
                return
            batch[0].future.set_exception(error)
            return
        for part, inspection in zip(batch, found, strict=True):
            part.future.set_result(inspection)

    def _begin(self) -> None:
        """Let waiting work take part, as far as there is room."""
        while self._waiting and len(self._active) < self.limits.streams:
            steps = self._waiting.popleft()
            if steps.cancelled or time.monotonic() > steps.until:
                self.metrics.abandoned.inc()
                steps.tell("raised", Refused("unavailable", LATE))
                continue
            try:
                self._active.append((steps, steps.begin()))
            except Exception as error:
                steps.tell("raised", error)

    def _step(self, steps: Steps, work: Iterator[Any]) -> bool:
        """One step; whether there are more."""
        if steps.cancelled:
            self.metrics.abandoned.inc()
            work.close()
            return False
        try:
            steps.tell("yielded", next(work))
            return True
        except StopIteration as end:
            steps.tell("returned", end.value)
        except Exception as error:
            steps.tell("raised", error)
        return False
