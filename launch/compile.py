"""Compile a training or scoring step for a TPU slice, on a machine without TPUs, and report what it will cost.

    iadgpt compile --config=configs/stage3.py:7b --topology=v5p:2x2x4 --out=report.json [--num_slices=2]
                             [--config.KEY=VALUE …]
    iadgpt compile --config=… --topology=… --score [--shots=4] [--queries=24] [--tokenizer=DIR] [--out=FILE]
    iadgpt compile --config=… --topology=… --shots=4 [--queries=6] [--tokenizer=DIR] [--out=FILE]
    iadgpt compile --table [--reports=DIR] [--docs=docs/tpu.md]

The first form prints a table, writes it as JSON, and exits with status 1 when the step does not fit the chips' memory.
The second does the same for scoring as launch/evaluate.py does it: so many queries on every device against cached
references. The third compiles a training step twice, with queries that share their references and with the same queries
as separate prompts, and compares FLOPs per query. For these two the length of a text is that of the tiny tokenizer,
which needs no download, or of --tokenizer. The last form compiles every case of docs/tpu.md in a process of its own and
writes the page's tables; a case with a report in --reports is not compiled again. Mesh, rows and rematerialisation come
from configs/slices.py, unless given.
"""

# ruff: noqa: E402 (a wrong flag or key ends before the imports that take seconds)
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from absl import app, flags, logging
from ml_collections import config_flags

from iadgpt_jax.ahead.topology import slice_devices, use_tpu_compiler
from iadgpt_jax.command_line import QUIET, before_loading, parse

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/stageN.py:SIZE", lock_config=True)
_TOPOLOGY = flags.DEFINE_string("topology", None, "v5e:4x4, v5p:2x2x4, v6e:8x8, tpu7x:2x2x2, …")
_SLICES = flags.DEFINE_integer("num_slices", 1, "slices of this topology, joined by the data-center network")
_SCORE = flags.DEFINE_bool("score", False, "compile scoring against cached references instead of training")
_OUT = flags.DEFINE_string("out", None, "file for the JSON report")
_SHOTS = flags.DEFINE_integer(
    "shots",
    0,
    "compare queries that share this many references with separate prompts; with --score: number of references (4)",
)
_QUERIES = flags.DEFINE_integer(
    "queries", 0, "with --shots: queries that share their references (6); with --score: queries per device (24)"
)
_TOKENIZER = flags.DEFINE_string(
    "tokenizer", "", "with --shots or --score: directory of a tokenizer.json; empty: the tiny one"
)
_TABLE = flags.DEFINE_bool("table", False, "compile every case of docs/tpu.md and write its tables")
_REPORTS = flags.DEFINE_string(
    "reports", "workdir/ahead", "folder where --table keeps its reports; cases with a report are not compiled again"
)
_DOCS = flags.DEFINE_string("docs", "docs/tpu.md", "the page whose tables --table writes")
FLAGS = ("topology", "num_slices", "score", "out", "shots", "queries", "tokenizer", "table", "reports", "docs", "quiet")
if __name__ == "__main__":
    before_loading(__doc__, FLAGS, ROOT)
use_tpu_compiler()  # before anything imports jax

import json

from iadgpt_jax import voice
from iadgpt_jax.ahead.report import advice, examine
from iadgpt_jax.ahead.show import report_lines
from iadgpt_jax.ahead.tiles import visited
from iadgpt_jax.chips import find_chip
from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.flops import step_flops
from iadgpt_jax.models.registry import preset
from iadgpt_jax.sharding import ShardingRules, make_mesh
from iadgpt_jax.train.build import abstract_rows, build_training
from iadgpt_jax.train.model_options import with_options
from launch.tpu_table import write_table


def compile_step(config, topology: str, slices: int = 1) -> dict:
    """The report on one training step: fields as in docs/tpu.md."""
    chip, mesh, rules, model_config = slice_of(config, topology, slices)
    training = build_training(config, model_config, mesh, rules)
    rows = abstract_rows(training.shape, config.rows, model_config, training.rows)
    maps = training.loss.maps
    needed = step_flops(model_config, training.shape, config.rows, frozen=config.frozen, maps=maps)
    about = described(config, "train", topology, slices, training.shape)
    return about | examine(training.step, (training.state, rows), mesh, chip, needed, visited(training.shape))


def compile_scoring(config, topology: str, slices: int, shots: int, queries: int) -> dict:
    """The report on scoring `queries` queries per device (0: as many as evaluation does). "rows" counts the queries of
    all devices, "prefix" the slots of their references."""
    # These import the encoder and the procedural products' words, which training steps do not need.
    from iadgpt_jax.evaluate.evaluator import AT_ONCE
    from iadgpt_jax.infer.abstract import build_scoring

    chip, mesh, rules, model_config = slice_of(config, topology, slices)
    scoring = build_scoring(config, model_config, mesh, rules, tokenizer(), shots, queries or AT_ONCE)
    about = described(config, "score", topology, slices, scoring.shape)
    about |= {"rows": scoring.queries, "remat": "none", "shots": shots, "prefix": scoring.prefix}
    # Splash attention runs on whole images only; lanes use plain matrix products, which XLA counts itself.
    return about | examine(scoring.function, scoring.arguments, mesh, chip, scoring.model_flops)


def slice_of(config, topology: str, slices: int):
    devices = slice_devices(topology, slices)
    chip = find_chip(devices[0].device_kind)
    if chip is None:
        raise InputError(
            f"--topology={topology}: no rates are known for {devices[0].device_kind!r}; add them to iadgpt_jax/chips.py"
        )
    model_config = with_options(preset(config.size), config.model)
    return chip, make_mesh(**config.mesh, devices=devices), ShardingRules(), model_config


def described(config, step: str, topology: str, slices: int, shape) -> dict:
    return {
        "stage": config.stage, "size": config.size, "step": step, "topology": topology, "num_slices": slices,
        "rows": config.rows, "slots": shape.slots, "images": shape.images, "remat": config.remat,
    }  # fmt: skip


def tokenizer():
    from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
    from iadgpt_jax.data.tokenizer import Tokenizer

    return Tokenizer.load(_TOKENIZER.value) if _TOKENIZER.value else tiny_tokenizer()


@clear_errors()
def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing, after adding the slice to the configuration's size (7b@v5p:2x2x4), which selects its settings."""
    values = {name.lstrip("-"): value for name, _, value in (word.partition("=") for word in argv)}
    topology, slices, config = values.get("topology"), values.get("num_slices", "1"), values.get("config", "")
    if topology and "@" not in config and not config.endswith((":tiny", ":bench", ".py")):
        where = topology if slices == "1" else f"{slices}x{topology}"
        argv = [f"{word}@{where}" if word.lstrip("-").startswith("config=") else word for word in argv]
    return parse(argv, _CONFIG, "--config=configs/stageN.py:SIZE --topology=SLICE [--config.KEY=VALUE …], or --table")


@clear_errors()
def main(argv) -> None:
    logging.set_verbosity(logging.ERROR)
    voice.set_quiet(QUIET.value)
    if len(argv) > 1:
        raise InputError(f"unknown arguments {' '.join(argv[1:])}: write --flag=VALUE")
    if _TABLE.value:
        write_table(Path(__file__), Path(_REPORTS.value), Path(_DOCS.value))
        return
    if _CONFIG.value is None or not _TOPOLOGY.value:
        raise InputError("nothing to compile: pass --config=configs/stageN.py:SIZE and --topology=…, or --table")
    if _SHOTS.value and not _SCORE.value:
        compare_shots()
        return
    asked = _CONFIG.value, _TOPOLOGY.value, _SLICES.value
    scoring = _SHOTS.value or 4, _QUERIES.value
    report = compile_scoring(*asked, *scoring) if _SCORE.value else compile_step(*asked)
    print("\n".join(report_lines(report)))
    write(report)
    must_fit(report, _CONFIG.value)


def compare_shots() -> None:
    # These import the encoder and the procedural products' words, which training steps do not need.
    from iadgpt_jax.ahead.shots import compare, shots_lines
    from iadgpt_jax.train.shots import configured

    queries = _QUERIES.value or 6
    rows = len(slice_devices(_TOPOLOGY.value, _SLICES.value)) // _CONFIG.value.mesh.tensor  # one per chip
    configs = configured(_CONFIG.value, tokenizer(), _SHOTS.value, queries, rows)
    reports = {side: compile_step(c, _TOPOLOGY.value, _SLICES.value) for side, c in configs.items()}
    result = compare(reports, _SHOTS.value, queries)
    write(result)
    for side, config in configs.items():
        must_fit(reports[side], config)
    print("\n".join(shots_lines(result)))


def write(result: dict) -> None:
    if _OUT.value:
        Path(_OUT.value).parent.mkdir(parents=True, exist_ok=True)
        Path(_OUT.value).write_text(json.dumps(result, indent=2) + "\n")


def must_fit(report: dict, config) -> None:
    if not report["fits"]:
        print(advice(report, config.rows, config.remat), file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
