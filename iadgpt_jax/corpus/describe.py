"""Describe: three captions of every kept image, asked of a model behind an OpenAI-compatible endpoint.

    answers.jsonl                  the ledger: nothing that is in it is asked, or paid for, again
    described/captions.jsonl       {"image", "captions": [shape, material and structure, surface quality]}
    described/report.json          counts, cost, and left_out[].{path,why}: images without three captions

An image's questions are asked one after the other, several images at once. What an endpoint turned away or lost is
asked again after a while that doubles; a refusal is an answer, and its image is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadgpt_jax.corpus import workdir as files
from iadgpt_jax.corpus.costs import estimate, prompt_tokens
from iadgpt_jax.corpus.prompts import Prompts
from iadgpt_jax.data.images import read_image
from iadgpt_jax.data.sources.entry import LeftOut
from iadgpt_jax.endpoint.asking import USUAL, Asker, EndpointDown, Patience, in_turn
from iadgpt_jax.endpoint.client import Endpoint, Question, Unusable, data_url, json_in
from iadgpt_jax.endpoint.ledger import CapReached, Ledger, question_id
from iadgpt_jax.endpoint.prices import Prices
from iadgpt_jax.errors import InputError
from iadgpt_jax.journal import Journal

LEAST_WORDS = 4  # fewer are no description


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
    concurrency: int = 8, patience: Patience = USUAL,
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
        asking = _Asking(workdir, prompts, Asker(ledger, endpoint, prices, patience))
        try:
            for _ in watch(in_turn(asking.asker, asking.image, todo.waiting, concurrency), len(todo.waiting)):
                pass
        except CapReached:
            stopped = f"the next question might cost more than the {cap:g} of --max_cost leave"
        except EndpointDown as error:
            stopped = str(error)
        return _write(workdir, todo.images, ledger, prompts, endpoint.model, asking.faults, stopped)


class _Asking:
    """What the threads share: who asks, and the faults so far."""

    def __init__(self, workdir: Path, prompts: Prompts, asker: Asker):
        self.workdir, self.prompts, self.asker = workdir, prompts, asker
        self.faults: dict[str, str] = {}  # image to why it has no caption yet

    def image(self, image: dict[str, Any]) -> None:
        """Ask what is not answered of one image. Raises CapReached, EndpointDown, InputError."""
        asker = self.asker
        unanswered = _unanswered(asker.ledger, image, self.prompts, asker.endpoint.model)
        shown = data_url(read_image(self.workdir / image["image"]), self.prompts.image_side)
        for perspective, id in unanswered:
            words = self.prompts.question(perspective, image["category"])
            if fault := asker.ask(id, _question(self.prompts, words, shown)):
                if not asker.stop.is_set():
                    self.faults[image["image"]] = fault
                return
            if asker.ledger.answer(id).refused:
                return


def _question(prompts: Prompts, words: str, shown: str) -> Question:
    """words: the question about the image `shown`, a data URL."""
    content = [{"type": "image_url", "image_url": {"url": shown}}, {"type": "text", "text": words}]
    messages = [{"role": "system", "content": prompts.system}, {"role": "user", "content": content}]
    return Question(messages, prompts.max_tokens, prompt_tokens(prompts), read_description)


def read_description(text: str, cut: bool) -> str:
    """The description in an answer. Raises Unusable where it is none."""
    told = json_in(text)
    description = told.get("description") if isinstance(told, dict) else None
    if not isinstance(description, str):
        why = "it was cut off" if cut else "it is not the JSON that was asked for"
        raise Unusable(f"no description in the answer: {why}")
    description = " ".join(description.split())
    if len(description.split()) < LEAST_WORDS:
        raise Unusable(f"no description in the answer: {description!r}")
    return description


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
