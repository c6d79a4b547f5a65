"""The ledger: every question before it is sent, every answer when it comes, and what was spent so far.

    {"ask": id, "bound": cost}                                    about to be sent; may cost up to `bound`
    {"unbilled": id}                                              turned away: 400, 429, 500, a refused connection
    {"useless": id, "cost"}                                       billed, and of no use: cut off in the middle
    {"answer": id, "text", "cost", "prompt_tokens"}               an answer
    {"answer": id, "refused": why, "cost", "prompt_tokens"}       the model will not answer this question

An id stands for all that an answer depends on: model, version of the prompts, what is asked about. A question that was
sent and never came to an end (a time-out, a killed process) counts with its bound, so the cap holds however often a run
is stopped.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

from iadgpt_jax.journal import Journal


class CapReached(Exception):
    """The next question might cost more than is left."""


@dataclass(frozen=True)
class Answer:
    """An answer, or why the model will not give one."""

    text: str = ""
    refused: str = ""


def question_id(*parts: str) -> str:
    """What an answer is remembered by. parts: all that it depends on, such as hashes, a version, the model's name."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class Ledger:
    """The ledger in a journal, for many threads. cap: what all runs together may spend."""

    def __init__(self, journal: Journal, cap: float):
        self._journal, self.cap = journal, cap
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        self._useless: dict[str, int] = {}
        self._open: dict[str, list[float]] = {}
        self.prompt_tokens = 0  # the most that a question took, as endpoints counted
        self._settled = self._pending = 0.0
        for place, entry in journal.entries():
            self._take(entry, place)

    @property
    def spent(self) -> float:
        """What was billed, and may have been."""
        return self._settled + self._pending

    def answer(self, id: str) -> Answer | None:
        """The answer that was paid for, or None."""
        if id not in self._places:
            return None
        entry = self._journal.at(self._places[id])
        return Answer(entry.get("text", ""), entry.get("refused", ""))

    def has_answer(self, id: str) -> bool:
        return id in self._places

    def tries(self, id: str) -> int:
        """Useless answers so far: the next one is another request, not the same one again."""
        return self._useless.get(id, 0)

    def ask(self, id: str, bound: float) -> None:
        """A question is about to be sent. Raises CapReached where it might cost more than is left."""
        with self._lock:
            if self.spent + bound > self.cap:
                raise CapReached
            self._write({"ask": id, "bound": bound})

    def unbilled(self, id: str) -> None:
        """The endpoint turned the question away."""
        with self._lock:
            self._write({"unbilled": id})

    def useless(self, id: str, cost: float) -> None:
        """What came is of no use, and was billed."""
        with self._lock:
            self._write({"useless": id, "cost": cost})

    def keep(self, id: str, answer: Answer, cost: float, prompt_tokens: int) -> None:
        """The answer came."""
        told = {"refused": answer.refused} if answer.refused else {"text": answer.text}
        with self._lock:
            self._write({"answer": id, **told, "cost": cost, "prompt_tokens": prompt_tokens}, durable=True)

    def _write(self, entry: dict, durable: bool = False) -> None:
        self._take(entry, self._journal.append(entry, durable))

    def _take(self, entry: dict, place: int) -> None:
        if "ask" in entry:
            self._open.setdefault(entry["ask"], []).append(entry["bound"])
            self._pending += entry["bound"]
            return
        id = entry.get("unbilled") or entry.get("useless") or entry["answer"]
        if bounds := self._open.get(id):
            self._pending -= bounds.pop()  # all bounds of a question are about equal
            if not bounds:
                del self._open[id]
        self._settled += entry.get("cost", 0.0)
        self.prompt_tokens = max(self.prompt_tokens, entry.get("prompt_tokens", 0))
        if "useless" in entry:
            self._useless[id] = self._useless.get(id, 0) + 1
        if "answer" in entry:
            self._places[id] = place
