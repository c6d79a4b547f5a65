"""Other ways to ask the questions of stage 2, so that the skill is learned and not the sentence. Answers stay the same.

The first phrasing of each is the one in prompts.py, which the tiny preset's tokenizer knows.
"""

from __future__ import annotations

import numpy as np

from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.task import Task, check_option

PHRASINGS = {
    question: (question, *others)
    for question, others in {
        prompts.ODD_ONE: (
            "One of these products may not be like the rest. Which image shows it?",
            "Compare the images. Which one is the outlier?",
            "Which of the images shows something that the others do not?",
            "Is one image different from the rest? Say which.",
        ),
        prompts.WHERE_DIFFERENT: (
            "Compare the last image with the first. Where is the difference?",
            "In which region is the last image not like the first?",
            "Both images should show the same product. Where does the last one deviate?",
            "Locate the region in which the two images differ.",
        ),
        prompts.DIFFERS_AT: (
            "Look at the {place} of both images. Is there a difference?",
            "Is the last image different from the first at the {place}?",
            "Has anything changed at the {place}?",
            "Comparing the two images, do you see a difference at the {place}?",
        ),
        prompts.IRREGULAR: (
            "Locate the region that looks irregular.",
            "Which region of the product does not look as it should?",
            "Is there an irregular region in this image? Where?",
            "Point out where the image shows something unusual.",
        ),
    }.items()
}


def phrased(question: str, phrasings: int, rng: np.random.Generator) -> str:
    """One of the first `phrasings` ways to ask a question of prompts.py, each as likely."""
    return question if phrasings == 1 else PHRASINGS[question][rng.integers(phrasings)]


def check_phrasings(task: type[Task], phrasings: int, *questions: str) -> None:
    """Raises InputError for a number of phrasings that a question does not have."""
    most = min(len(PHRASINGS[question]) for question in questions)
    check_option(task, "phrasings", phrasings, 1 <= phrasings <= most, f"1 to {most}")
