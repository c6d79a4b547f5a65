"""Ask until there is an answer: what an endpoint turned away or lost is asked again after a while that doubles.

Every question stands in the ledger before it is sent, so that nothing is paid for twice and the cap holds. A refusal is
an answer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from iadgpt_jax.endpoint.client import Endpoint, Lost, Question, Rejected, Reply, TurnedAway, Useless
from iadgpt_jax.endpoint.ledger import Ledger
from iadgpt_jax.endpoint.prices import Prices

FAILED_IN_A_ROW = 20  # questions, after which the endpoint is taken to be down
LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for more

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """attempts: of a question in one run, before it is given up until the next one; first_wait: seconds before the
    second attempt, doubling from there."""

    attempts: int = 8
    first_wait: float = 1.0


USUAL = Patience()


class EndpointDown(Exception):
    """Question after question has failed."""


class Asker:
    """What threads that ask share: the ledger, and when the endpoint may be asked again."""

    def __init__(self, ledger: Ledger, endpoint: Endpoint, prices: Prices, patience: Patience = USUAL):
        self.ledger, self.endpoint = ledger, endpoint
        self.prices, self.patience = prices, patience
        self.stop = threading.Event()
        self._not_before = 0.0
        self._failed_in_a_row = 0

    def ask(self, id: str, question: Question) -> str:
        """Ask until the ledger holds an answer; "" then, else why there is none.

        Raises CapReached where the question might cost more than is left, EndpointDown where many have failed in a
        row, InputError where asking again is of no use.
        """
        fault = self._ask(id, question)
        if self.stop.is_set():
            return fault
        self._failed_in_a_row = self._failed_in_a_row + 1 if fault else 0
        if self._failed_in_a_row >= FAILED_IN_A_ROW:
            raise EndpointDown(f"{FAILED_IN_A_ROW} questions in a row had no answer, the last: {fault}")
        return fault

    def _ask(self, id: str, question: Question) -> str:
        fault = ""
        for attempt in range(self.patience.attempts):
            self._wait_for_turn()
            if self.stop.is_set():
                return "stopped"
            bound = self.prices.of(max(self.ledger.prompt_tokens, question.prompt_tokens), question.max_tokens)
            self.ledger.ask(id, bound)
            outcome = self.endpoint.ask(question, f"{id}-{self.ledger.tries(id)}")
            after = None
            match outcome:
                case Reply(answer, asked, told):
                    cost = self.prices.of(asked, told) if asked else (0.0 if answer.refused else bound)
                    self.ledger.keep(id, answer, cost, asked)
                    return ""
                case Useless(fault, asked, told):
                    self.ledger.useless(id, self.prices.of(asked, told) if asked else bound)
                case Rejected(fault):
                    self.ledger.unbilled(id)
                    return fault
                case TurnedAway(fault, after):
                    self.ledger.unbilled(id)
                case Lost(fault):
                    pass  # stays open in the ledger: it may have been billed
            self._wait(attempt, after)
        return fault

    def _wait_for_turn(self) -> None:
        """Nobody asks before the time that the endpoint has named to anybody."""
        while (left := self._not_before - time.monotonic()) > 0 and not self.stop.wait(left):
            pass

    def _wait(self, attempt: int, after: float | None) -> None:
        if after is not None:
            self._not_before = max(self._not_before, time.monotonic() + after)
            return
        doubled = min(LONGEST_WAIT, self.patience.first_wait * 2**attempt)
        self.stop.wait(doubled * random.uniform(0.5, 1))  # so that many do not come back at once


def in_turn(asker: Asker, work: Callable[[T], None], waiting: Sequence[T], concurrency: int) -> Iterator[None]:
    """`work` on every item, several at once; yields as they are done. The first one is worked on alone: its answers
    tell how many tokens a question takes, so that the cap holds for those that follow together."""
    for item in waiting[:1]:
        work(item)
        yield None
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            for item in waiting[1:]:
                while len(running) >= 2 * concurrency:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                running.add(pool.submit(work, item))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            asker.stop.set()  # the others end with the question they are at
            pool.shutdown(cancel_futures=True)
            raise
