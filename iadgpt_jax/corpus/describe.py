"""Describe: three captions of every kept image, asked of a model behind an OpenAI-compatible endpoint.

    answers.jsonl                  the ledger: nothing that is in it is asked, or paid for, again
    described/captions.jsonl       {"image", "captions": [shape, material and structure, surface quality]}
    described/report.json          counts, cost, and left_out[].{path,why}: images without three captions

An image's questions are asked one after the other, several images at once. What an endpoint turned away or lost is
asked again after a while that doubles; a refusal is an answer, and its image is left out.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadgpt_jax.corpus import workdir as files
from iadgpt_jax.corpus.costs import Prices, estimate, prompt_tokens
from iadgpt_jax.corpus.endpoint import Endpoint, Lost, Rejected, Reply, TurnedAway, Useless, data_url
from iadgpt_jax.corpus.journal import Journal
from iadgpt_jax.corpus.ledger import CapReached, Ledger, question_id
from iadgpt_jax.corpus.prompts import Prompts
from iadgpt_jax.data.images import read_image
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.errors import InputError

FAILED_IN_A_ROW = 20  # images, after which the endpoint is taken to be down
LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for more


@dataclass(frozen=True)
class Patience:
    """attempts: of a question in one run, before its image is given up until the next one; first_wait: seconds before
    the second attempt, doubling from there."""

    attempts: int = 8
    first_wait: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What is still to be asked, and what it will cost."""

    images: list[dict[str, Any]]
    waiting: list[dict[str, Any]]  # of them, those with a question that has no answer and no refusal before it
    questions: int
    estimate: float
    spent: float


def plan(workdir: Path, prompts: Prompts, model: str, prices: Prices, cap: float = 0.0) -> Plan:
    """Look at what is there. Raises InputError where nothing was cleaned yet."""
    images = files.read_lines(workdir / files.IMAGES_FILE, "clean")
    with Journal(workdir / files.ANSWERS_FILE) as journal:
        ledger = Ledger(journal, cap)
        open_questions = [len(_unanswered(ledger, image, prompts, model)) for image in images]
        waiting = [image for image, count in zip(images, open_questions, strict=True) if count]
        expected = estimate(sum(open_questions), prompts, prices, ledger.prompt_tokens)
        return Plan(images, waiting, sum(open_questions), expected, ledger.spent)


def describe(
    workdir: Path, todo: Plan, prompts: Prompts, endpoint: Endpoint, prices: Prices, cap: float,
    concurrency: int = 8, patience: Patience = Patience(),
    watch: Callable[[Iterator[None], int], Iterable[None]] = lambda done, total: done,
) -> dict[str, Any]:  # fmt: skip
    """Ask what is still to be asked, and write what there is.

    Args:
      todo: as `plan` made it. cap: what this and all earlier runs together may spend. concurrency: images asked about
      at once. watch: hands on a None an image that is done, of so many.

    Returns the report; its `stopped` says why not everything was asked: "" or a sentence. Raises InputError where the
    endpoint refuses everything.
    """
    stopped = ""
    with Journal(workdir / files.ANSWERS_FILE) as journal:
        ledger = Ledger(journal, cap)
        asking = _Asking(workdir, ledger, prompts, endpoint, prices, patience)
        try:
            for _ in watch(_in_turn(asking, todo.waiting, concurrency), len(todo.waiting)):
                pass
        except CapReached:
            stopped = f"the next question might cost more than the {cap:g} of --max_cost leave"
        except EndpointDown as error:
            stopped = f"{FAILED_IN_A_ROW} images in a row had no answer, the last: {error}"
        return _write(workdir, todo.images, ledger, prompts, endpoint.model, asking.faults, stopped)


class EndpointDown(Exception):
    """Image after image has failed."""


class _Asking:
    """What the threads share: the ledger, the faults so far, and when the endpoint may be asked again."""

    def __init__(
        self, workdir: Path, ledger: Ledger, prompts: Prompts, endpoint: Endpoint, prices: Prices, patience: Patience
    ):
        self.workdir, self.ledger, self.prompts, self.endpoint = workdir, ledger, prompts, endpoint
        self.prices, self.patience = prices, patience
        self.faults: dict[str, str] = {}  # image to why it has no caption yet
        self.stop = threading.Event()
        self._not_before = 0.0
        self._failed_in_a_row = 0

    def image(self, image: dict[str, Any]) -> None:
        """Ask what is not answered of one image. Raises CapReached, EndpointDown, InputError."""
        unanswered = _unanswered(self.ledger, image, self.prompts, self.endpoint.model)
        shown = data_url(read_image(self.workdir / image["image"]), self.prompts.image_side)
        for perspective, id in unanswered:
            question = self.prompts.question(perspective, image["category"])
            fault = self._question(id, question, shown)
            if self.stop.is_set():
                return
            if fault:
                self.faults[image["image"]] = fault
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= FAILED_IN_A_ROW:
                    raise EndpointDown(fault)
                return
            self._failed_in_a_row = 0
            if self.ledger.answer(id).refused:
                return

    def _question(self, id: str, question: str, shown: str) -> str:
        """Ask until there is an answer; "" then, else why there is none."""
        fault = ""
        for attempt in range(self.patience.attempts):
            self._wait_for_turn()
            if self.stop.is_set():
                return "stopped"
            expected = self.ledger.prompt_tokens or prompt_tokens(self.prompts)
            bound = self.prices.of(expected, self.prompts.max_tokens)
            self.ledger.ask(id, bound)
            outcome = self.endpoint.ask(
                self.prompts.system, question, shown, self.prompts.max_tokens, f"{id}-{self.ledger.tries(id)}"
            )
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


def _in_turn(asking: _Asking, waiting: list[dict[str, Any]], concurrency: int) -> Iterator[None]:
    """Ask about images, several at once; yields as they are done. The first one is asked about alone: its answers tell
    how many tokens a question takes, so that the cap holds for those that follow together."""
    for image in waiting[:1]:
        asking.image(image)
        yield None
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            for image in waiting[1:]:
                while len(running) >= 2 * concurrency:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                running.add(pool.submit(asking.image, image))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            asking.stop.set()  # the others end with the question they are at
            pool.shutdown(cancel_futures=True)
            raise


def _unanswered(ledger: Ledger, image: dict[str, Any], prompts: Prompts, model: str) -> list[tuple[str, str]]:
    """(perspective, id) of an image's questions without answer; none where one was refused."""
    found = []
    for perspective in prompts.perspectives:
        id = question_id(image["sha256"], prompts.version, perspective, model)
        if not ledger.has_answer(id):
            found.append((perspective, id))
        elif ledger.answer(id).refused:
            return []
    return found


def _write(
    workdir: Path, images: list[dict[str, Any]], ledger: Ledger, prompts: Prompts, model: str, faults: dict[str, str],
    stopped: str,
) -> dict[str, Any]:  # fmt: skip
    """Captions and report from what is in the ledger; returns the report's counts."""
    captions, left_out, refused = [], [], 0
    for image in images:
        ids = [question_id(image["sha256"], prompts.version, one, model) for one in prompts.perspectives]
        answers = [answer for id in ids if (answer := ledger.answer(id)) is not None]
        if refusal := next((answer.refused for answer in answers if answer.refused), ""):
            refused += 1
            left_out.append(LeftOut(image["image"], f"the model will not describe it: {refusal}"))
        elif len(answers) < len(ids):
            left_out.append(LeftOut(image["image"], f"not described yet: {faults.get(image['image'], 'not asked')}"))
        else:
            captions.append({"image": image["image"], "captions": [answer.text for answer in answers]})
    if not captions and not stopped:
        raise InputError(f"no image could be described; the first: {left_out[0].why}")
    values = {"images": len(images), "described": len(captions), "refused": refused,
              "not_described": len(left_out) - refused, "prompts": prompts.version, "model": model,
              "spent": round(ledger.spent, 6), "stopped": stopped}  # fmt: skip
    files.write_report(workdir / files.DESCRIBE_REPORT, values, left_out)
    files.write_lines(workdir / files.CAPTIONS_FILE, captions)
    return values
