"""launch/train.py, telling whoever watches how far it is: what tools/chaos.py starts and kills.

    python tools/reliability/life.py NOTES [ARGUMENT …]

The arguments are launch/train.py's. NOTES gets a line for every step that is begun and for every save that begins.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # launch/local.py starts this file by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from absl import app

import launch.train
from iadgpt_jax.distributed import is_main_process


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
    sys.argv = ["launch/train.py", *arguments]  # where the configuration's flag looks for what overrides it
    app.run(launch.train.main, flags_parser=launch.train.parse_flags)


if __name__ == "__main__":
    main(sys.argv[1:])
