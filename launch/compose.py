"""Say what a stage is made of, before anyone pays for it: counts of every task and source, and rows to look at.

    iadgpt compose --config=configs/stage3.py:7b --config.source=DIR --tokenizer=DIR --out=DIR
    iadgpt compose --config=configs/stage2.py:tiny --out=DIR

With --report=FILE, what launch/compile.py --out wrote about the same step, it says how many threads feed the slice.

It needs no weights. The tokenizer and the detection prompt are those of config.init_from; where there is none,
--tokenizer names a folder with the tokenizer.json of Qwen2.5-VL. Writes composition.json and composition.html.
"""

# ruff: noqa: E402 (a wrong flag or key ends before the imports that take seconds)
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing here runs on a device, so none is taken

from absl import app, flags, logging
from ml_collections import config_flags

from iadgpt_jax.command_line import QUIET, before_loading, parse

if __name__ == "__main__":
    # Not defined on import: launch/train.py has a --config, too, and absl knows one flag of a name.
    _CONFIG = config_flags.DEFINE_config_file("config", None, "configs/stageN.py:SIZE", lock_config=True)
    _OUT = flags.DEFINE_string("out", None, "folder for composition.json and composition.html")
    _TOKENIZER = flags.DEFINE_string("tokenizer", "", "folder with the tokenizer.json of Qwen2.5-VL")
    _EXAMPLES = flags.DEFINE_integer("examples", 4, "rows to show", lower_bound=1)
    _REPORT = flags.DEFINE_string("report", "", "what iadgpt compile --out wrote about the same step")
    before_loading(__doc__, ("out", "tokenizer", "examples", "report", "quiet"), ROOT, required=("config", "out"))

import json

from iadgpt_jax import voice
from iadgpt_jax.checkpoint.load import open_checkpoint
from iadgpt_jax.data.composition import compose, composition_lines, fed
from iadgpt_jax.data.detection_prompt import named_prompt, prompt_of
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import open_batches
from iadgpt_jax.data.run_sources import check_sources, open_sources, without_evaluation_data
from iadgpt_jax.data.sources import notes_of
from iadgpt_jax.data.tasks.task_source import warn
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.evaluate.composition_page import write_page
from iadgpt_jax.models.registry import preset
from iadgpt_jax.train.bounds import check_values
from iadgpt_jax.train.model_options import started, with_options


def encoder_of(config, tokenizer: str) -> Encoder:
    """The encoder that training would have, without any weights."""
    stored = {}
    if config.init_from:
        opened = open_checkpoint(config.init_from)
        model, words, stored = started(opened.config, config.model, config.init_from), opened.tokenizer, opened.info
    else:
        model = with_options(preset(config.size, config.architecture), config.model)
        if config.size not in ("tiny", "bench") and not tokenizer:
            raise InputError(
                f"stage{config.stage}.py:{config.size} needs Qwen2.5-VL's tokenizer: pass --tokenizer=DIR, the folder "
                "with its tokenizer.json, or --config.init_from=DIR"
            )
        words = tiny_tokenizer()
    if tokenizer:
        words = Tokenizer.load(tokenizer)
    prompt = named_prompt(config.detection_prompt) if config.detection_prompt else prompt_of(stored)
    return Encoder(model, words, prompt)


def run(config, out: str, tokenizer: str, examples: int, report: str = "") -> dict:
    """Print the composition of a stage and write it, with a page of example rows. Returns it."""
    compiled = read_report(report) if report else None
    if not config.source and not config.sources:
        raise InputError("there is nothing to compose: pass --config.source=DIR, or --config.sources.NAME.path=DIR")
    if config.steps < 1:
        raise InputError(f"config.steps is {config.steps}: there is nothing to train")
    check_values(config)
    check_sources(config)
    encoder = encoder_of(config, tokenizer)
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out={out} cannot be a folder ({error.strerror}): choose another path") from error
    sources = open_sources(config)
    notes = [note for one in sources for note in notes_of(one.source)]
    sources = without_evaluation_data(sources, config.leakage, warn)
    for note in notes:
        voice.say(note)
    batches = open_batches(config, sources, encoder)
    found = compose(config, batches)
    if compiled is not None:
        found["feeding"] = fed(found, compiled)
    print("\n".join(composition_lines(found)))
    (Path(out) / "composition.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    write_page(Path(out) / "composition.html", found, batches, examples)
    voice.say(f"{Path(out) / 'composition.html'} shows rows: images, masks, prompts, and what is learned")
    return found


def read_report(path: str) -> dict:
    """A report of launch/compile.py on a training step."""
    try:
        report = json.loads(Path(path).read_text())
        report["roofline"]["step_seconds"], report["devices"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--report={path} is not a report of a step that fits, as launch/compile.py --out writes it: "
                         f"{error}") from error  # fmt: skip
    return report


@clear_errors()
def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing; a mistake in the command line or in the configuration's name is one line."""
    return parse(argv, _CONFIG, "--config=configs/stageN.py:SIZE --out=DIR [--config.KEY=VALUE …]")


@clear_errors()
def main(argv) -> None:
    logging.set_verbosity(logging.ERROR)
    voice.set_quiet(QUIET.value)
    if len(argv) > 1:
        raise InputError(f"unknown arguments {' '.join(argv[1:])}: write --flag=VALUE")
    run(_CONFIG.value, _OUT.value, _TOKENIZER.value, _EXAMPLES.value, _REPORT.value)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "out"])
    app.run(main, flags_parser=parse_flags)
