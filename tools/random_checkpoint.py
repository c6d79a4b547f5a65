"""Write a checkpoint of any published shape with random values, in the hub's layout: to measure and test conversions.

    python tools/random_checkpoint.py --size=7b --out=DIR --tokenizer=DIR
    python tools/convert_hf.py roundtrip --hf=DIR --work=DIR

The same seed gives the same bytes. Values are as large as fresh weights (about ±.02; norms about 1), so that nothing
overflows. --tokenizer is a directory with the tokenizer.json of Qwen2.5-VL; size tiny has its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from iadgpt_jax.convert.config import hf_config_from_model
from iadgpt_jax.convert.hf_export import EXPORT_DTYPES
from iadgpt_jax.convert.memory import Work
from iadgpt_jax.convert.names import entries
from iadgpt_jax.convert.shards import SHARD_BYTES, create_shards
from iadgpt_jax.convert.side_files import copy_tokenizer, generation_config, preprocessor_config
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.models.iadgpt.config import PRESETS, ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import SpecialTokens
from iadgpt_jax.models.registry import preset
from iadgpt_jax.progress import progress

PIECE = 1 << 24  # values drawn at a time
SIGN_AND_MANTISSA, SMALL, ONE = 0x807F, 0x3C80, 0x3F80  # of bfloat16: ±[2⁻⁶, 2⁻⁵) and [1, 2)


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    config = dataclasses.replace(preset(flags.size), taps=False)  # a stock model, without gates
    if flags.out.exists():
        raise InputError(f"{flags.out} exists already; remove it or choose another --out")
    if flags.tokenizer is None and flags.size != "tiny":
        raise InputError(f"size {flags.size} needs --tokenizer: a directory with the tokenizer.json of Qwen2.5-VL")
    with Work() as work:
        aside = flags.out.with_name(f".{flags.out.name}.unfinished-{os.getpid()}")
        aside.mkdir(parents=True)
        try:
            write_tokenizer(flags.tokenizer, aside)
            write_weights(config, aside, np.dtype(EXPORT_DTYPES[flags.dtype]), flags.seed, flags.shard_bytes)
            values = hf_config_from_model(config, flags.dtype)
            if config.tokens == SpecialTokens():  # the published ids, which need no field of ours in config.json
                del values["iadgpt"]
            for name, content in (
                ("config.json", values), ("generation_config.json", generation_config(config)),
                ("preprocessor_config.json", preprocessor_config(config)),
            ):  # fmt: skip
                (aside / name).write_text(json.dumps(content, indent=2) + "\n")
            aside.rename(flags.out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    print(f"wrote {flags.out}: {work.summary(sum(file.stat().st_size for file in flags.out.glob('*.safetensors')))}")


def write_tokenizer(source: Path | None, target: Path) -> None:
    if source is None:
        from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer

        tiny_tokenizer().save(target)
    else:
        Tokenizer.load(source)
        copy_tokenizer(source, target)


def write_weights(config: ModelConfig, directory: Path, dtype: np.dtype, seed: int, shard_bytes: int) -> None:
    """Write every tensor of the configuration, a piece at a time, each from its own random generator."""
    rows = entries(config)
    shapes = {row.name: row.axes.hf_shape for row in rows}
    targets = create_shards(directory, shapes, dict.fromkeys(shapes, dtype), shard_bytes)
    for number, (name, target) in enumerate(progress(targets.items(), len(targets), "drawing", "tensors")):
        rng = np.random.default_rng([seed, number])
        flat, exponent = target.reshape(-1), ONE if target.ndim == 1 and "norm" in name or "ln_q" in name else SMALL
        for start in range(0, flat.size, PIECE):
            bits = rng.integers(0, 1 << 16, min(PIECE, flat.size - start), dtype=np.uint16)
            bits = bits & (SIGN_AND_MANTISSA if exponent == SMALL else 0x007F) | exponent
            flat[start : start + PIECE] = bits.view(EXPORT_DTYPES["bfloat16"])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", required=True, choices=sorted(PRESETS))
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new directory; must not exist")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR")
    parser.add_argument("--dtype", choices=sorted(EXPORT_DTYPES), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard_bytes", type=int, default=SHARD_BYTES, help="largest file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
