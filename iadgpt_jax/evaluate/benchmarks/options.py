"""What can be chosen about an evaluation on a benchmark of answers in words."""

from __future__ import annotations

from dataclasses import dataclass

from iadgpt_jax.evaluate.benchmarks import mmad, visa_dr
from iadgpt_jax.evaluate.benchmarks.judge import Judge

SQUARES, CHAT = LAYOUTS = ("squares", "chat")  # wording.py says what they are
MAX_NEW = {visa_dr.NAME: 512, mmad.NAME: 128}  # tokens


@dataclass(frozen=True)
class Options:
    """templates: the good image that MMAD shows, of mmad.TEMPLATES; sequential: MMAD's questions about an image come
    after one another; max_new: tokens of an answer, 0 for MAX_NEW's; at_once: questions in a batch; side: of squares, 0
    for that of training; fsdp: devices that share the weights."""

    categories: tuple[str, ...] = ()
    templates: str = mmad.TEMPLATES[0]
    sequential: bool = False
    layout: str = SQUARES
    max_new: int = 0
    at_once: int = 8
    side: int = 0
    fsdp: int = 1
    allow_trained: bool = False
    judge: Judge | None = None
