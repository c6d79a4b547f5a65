"""What a checkpoint says of held-out procedural products, beside what it scores: the table of docs/words.md.

    python tools/measure_words.py --checkpoint=workdir/quickstart/stage3 --seed=0

Products are those of `launch/quickstart.py --seed`; a checkpoint of any stage that detects will do. Prints detection
with one draw of references, answers and short questions as the quickstart grades them, and as JSON with --json=FILE.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from iadgpt_jax.errors import Parser, clear_errors
from iadgpt_jax.whole_file import write_json

SHOTS = (1, 2, 4)


@clear_errors()
def main(arguments: list[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="a training workdir or a Hugging Face directory")
    parser.add_argument("--seed", type=int, default=0, help="of the products and of the draw (default %(default)s)")
    parser.add_argument("--per_category", type=int, default=12, help="answers, half on defects (default %(default)s)")
    parser.add_argument("--json", default="", help="where to write the numbers, too")
    flags = parser.parse_args(arguments)

    from iadgpt_jax.checkpoint.load import load_model
    from iadgpt_jax.data.sources import open_source
    from iadgpt_jax.evaluate.answers import generate_answers, map_reading
    from iadgpt_jax.evaluate.asked import ask_pairs
    from iadgpt_jax.evaluate.evaluator import Evaluator
    from iadgpt_jax.evaluate.report_answers import render_answers

    loaded = load_model(flags.checkpoint)
    source = open_source("procedural:held_out", side=None, seed=flags.seed)
    draws = Evaluator(loaded, SHOTS).draws(source, 1, seed=flags.seed)
    means = {
        metric: sum(draws.summary[k][metric]["mean"] for k in SHOTS) / len(SHOTS)
        for metric in ("image_auroc", "pixel_auroc")
    }
    print("mean over 1, 2 and 4 references:", ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    plans = draws.plans[0]
    answers = generate_answers(loaded, source, plans, flags.per_category, seed=flags.seed)
    maps = map_reading(source, answers.texts, draws.scored[0][max(SHOTS)])
    grades = answers.grades | {"map_reading": maps, "asked": ask_pairs(loaded, source, plans, seed=flags.seed)}
    print(render_answers(grades))
    if flags.json:
        write_json(Path(flags.json), {**means, "answers": grades})


if __name__ == "__main__":
    main()
