"""Which of a workdir's steps are as they were written, by the checksums that each was saved with (digests.py).

A damaged step is never used: the one before it takes its place, and a line says so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from iadgpt_jax.bucket_files import place
from iadgpt_jax.checkpoint.files import STEPS, finished_steps
from iadgpt_jax.digests import damage, has_digests
from iadgpt_jax.distributed import decided, gathered, is_main_process
from iadgpt_jax.errors import InputError


def newest_whole(workdir: str | Path, item: str | None = None, together: bool = False) -> int:
    """The newest whole step of a workdir that has steps; those passed over are said on standard error.

    item: the only part of a step that matters, by default all. together: all processes call this, check a share each,
    and come to the same result. Raises InputError where no step is whole.
    """
    steps = finished_steps(workdir)
    step, damaged = _first_whole(workdir, steps, item, together)
    for other, what in damaged.items():
        _say(f"step {other} of {workdir} is damaged ({what}): step {step} is used instead")
    return step


def set_damaged_aside(workdir: str | Path) -> None:
    """Rename the damaged steps that are newer than the newest whole one to STEP.damaged, so that training, which will
    come to them again, can save them. Every process calls this.

    Raises InputError where no step is whole; then nothing is renamed.
    """
    steps = decided(lambda: finished_steps(workdir))
    if not steps:
        return
    step, damaged = _first_whole(workdir, steps, None, together=jax.process_count() > 1)
    for other, what in damaged.items():
        folder = place(workdir) / STEPS / str(other)
        aside, number = folder.with_name(f"{other}.damaged"), 1
        while aside.exists():
            number += 1
            aside = folder.with_name(f"{other}.damaged-{number}")
        _say(f"step {other} of {workdir} is damaged ({what}): step {step} is used instead; it is kept as {aside.name}")
        if is_main_process():
            folder.rename(aside)
    if damaged and jax.process_count() > 1:
        gathered(None)  # by now they are set aside


def check_step(workdir: str | Path, step: int, item: str, together: bool = False) -> None:
    """Raise InputError where this very step is damaged."""
    if what := _damage_of(place(workdir) / STEPS / str(step), item, together):
        raise InputError(
            f"step {step} of {workdir} is damaged ({what}): give another step of its {STEPS} folder, or the folder "
            "itself, for the newest whole one"
        )


def _first_whole(
    workdir: str | Path, steps: Sequence[int], item: str | None, together: bool
) -> tuple[int, dict[int, str]]:
    damaged: dict[int, str] = {}
    for step in reversed(steps):
        folder = place(workdir) / STEPS / str(step)
        what = _damage_of(folder, item, together)
        if what is None:
            if not any(has_digests(part) for part in _items(folder, item)):
                _say(f"note: step {step} of {workdir} was saved without checksums, so damage to it would go unnoticed")
            return step, damaged
        damaged[step] = what
    told = "; ".join(f"step {step}: {what}" for step, what in damaged.items())
    raise InputError(
        f"{workdir}: none of its steps is whole ({told}); restore one from a backup or choose another folder"
    )


def _damage_of(folder: Path, item: str | None, together: bool) -> str | None:
    share, shares = (jax.process_index(), jax.process_count()) if together else (0, 1)
    found = next(
        (f"{part.name}: {what}" for part in _items(folder, item) if (what := damage(part, share, shares))), None
    )
    return next(filter(None, gathered(found)), None) if together else found


def _items(folder: Path, item: str | None) -> list[Path]:
    return [folder / item] if item else sorted(path for path in folder.iterdir() if path.is_dir())


def _say(line: str) -> None:
    if is_main_process():
        print(line, file=sys.stderr, flush=True)
