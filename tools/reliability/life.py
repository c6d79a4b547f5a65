"""launch/train.py, telling whoever watches how far it is: what tools/chaos.py starts and kills.

    python tools/reliability/life.py NOTES [ARGUMENT …]

The arguments are launch/train.py's. NOTES gets a line for every step that is begun and for every save that begins.
What takes most of a start, tracing and compiling the step, is done once: one process alone finds the compiled step
beside its notes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":  # launch/local.py starts this file by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
from absl import app
from jax.experimental import serialize_executable

import launch.train
from iadgpt_jax.distributed import compiled_together, is_main_process
from iadgpt_jax.whole_file import write_whole

COMPILED = "compiled_step"  # beside the notes: the names of the step's numbers, and the program


def main(words: Sequence[str]) -> None:
    """Train. words: NOTES, and the arguments of launch/train.py."""
    notes, *arguments = words

    def telling(word: str, method):
        def told(self, *given, **named):
            if is_main_process():
                with open(notes, "a", encoding="utf-8") as lines:
                    lines.write(f"{word}\n")
            return method(self, *given, **named)

        return told

    launch.train.Guard.step = telling("step", launch.train.Guard.step)
    launch.train.Saver.save = telling("save", launch.train.Saver.save)
    launch.train.compiled_together = once_compiled(Path(notes).with_name(COMPILED))
    sys.argv = ["launch/train.py", *arguments]  # where the configuration's flag looks for what overrides it
    app.run(launch.train.main, flags_parser=launch.train.parse_flags)


def once_compiled(path: Path) -> Callable:
    """What stands for distributed.compiled_together: the same program for every start."""

    def step(function, state, rows):
        if jax.process_count() > 1:
            return compiled_together(function, state, rows)
        if not path.exists():
            compiled = function.lower(state, rows).compile()
            program, _, made = serialize_executable.serialize(compiled)
            _, names = jax.tree.unflatten(made, range(made.num_leaves))
            write_whole(path, json.dumps(sorted(names)).encode() + b"\n" + program)
            return compiled
        names, program = path.read_bytes().split(b"\n", 1)
        given = jax.tree.structure(((state, rows), {}))
        made = jax.tree.structure((state, dict.fromkeys(json.loads(names), 0)))
        return serialize_executable.deserialize_and_load(program, given, made)

    return step


if __name__ == "__main__":
    main(sys.argv[1:])
