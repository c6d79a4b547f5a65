"""Feed damaged input to what reads files and words of strangers: only documented errors may come out.

    python tools/fuzz.py TARGET [--cases=20000] [--seed=0] [--only=CASE]

TARGET: image (photographs and masks), chat (messages), hf (config.json, tensors' headers and index of a Hugging Face
directory), config (flags --config.KEY=VALUE of a training), words (captions and other words.jsonl), or all. Each case
is a valid input with something changed, drawn from the seed and the case's number. It has to be read, or refused by an
InputError of one line, in less than 20 s. Anything else is printed with its traceback, and the exit status is 1; --only
runs that case again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.errors import Parser, clear_errors
from iadgpt_jax.progress import progress
from tools.fuzzing.run import TARGETS, run, target


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2])
    parser.add_argument("target", choices=(*TARGETS, "all"), help="what is fed")
    parser.add_argument("--cases", type=int, default=20_000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone")
    flags = parser.parse_args(arguments)
    numbers = range(flags.cases) if flags.only is None else [flags.only]
    failed = 0
    for name in TARGETS if flags.target == "all" else (flags.target,):
        with TemporaryDirectory(prefix="fuzz-") as folder:
            found = run(target(name, Path(folder)), progress(numbers, len(numbers), name, "cases"), flags.seed)
        for case, told in found.failures.items():
            print(f"{name}, case {case}:\n{told}")
        print(f"{name}: {found.cases} cases, {found.read} read, {found.refused} refused, {len(found.failures)} failed")
        failed += len(found.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
