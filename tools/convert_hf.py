"""Weights in and out: a Hugging Face Qwen2.5-VL directory to a checkpoint, and a checkpoint to such a directory.

    python tools/convert_hf.py import --hf=DIR --out=DIR
    python tools/convert_hf.py export --checkpoint=DIR --out=DIR [--stock] [--dtype=bfloat16]
    python tools/convert_hf.py verify --checkpoint=DIR --hf=DIR [--image=PNG …] [--out=report.json]

import: --hf is a directory or a hub id like Qwen/Qwen2.5-VL-7B-Instruct; --out becomes a checkpoint that training
starts from (--config.init_from=DIR). export: transformers loads the result; a trained model ships with its PyTorch
twin, which computes all of it with torch and transformers alone, and what stock transformers will not reproduce is said
in one line; with --stock such a model is refused. verify: runs both (the twin, where there is one) and reports how they
differ; exit status 1 where they differ by more than rounding.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from iadgpt_jax.convert.hf_export import EXPORT_DTYPES, export_hf
from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.convert.side_files import copy_tokenizer
from iadgpt_jax.convert.twin import has_twin
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.progress import progress
from iadgpt_jax.train.checkpoint import TOKENIZER, find, load_model, save_model


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    flags.command(flags)


def import_command(flags: argparse.Namespace) -> None:
    """A Hugging Face directory becomes step 0 of a workdir, written aside and renamed."""
    start = time.monotonic()
    refuse_existing(flags.out)
    hf = open_hf(flags.hf)
    print(f"{hf.directory}: {len(hf.shards)} tensors in {len(hf.shards.files)} files, model {hf.config.name}")
    dtype = EXPORT_DTYPES[flags.dtype] if flags.dtype else hf.dtype
    params = hf.params(dtype, watch=watch("importing", "leaves"))
    info = {"stage": 0, "image_side": 448, "map_space": "probability", "imported_from": Path(flags.hf).name}
    aside = flags.out.with_name(f".{flags.out.name}.unfinished-{os.getpid()}")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write {flags.out}: {error.strerror}; choose another --out") from error
    try:
        save_model(aside, params, hf.config, Tokenizer.load(hf.directory), info | hf.info | {"dtype": dtype.name})
        shutil.rmtree(aside / TOKENIZER)  # the model's own files instead, which know more than ours
        (aside / TOKENIZER).mkdir()
        copy_tokenizer(hf.directory, aside / TOKENIZER)
        aside.rename(flags.out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    seconds = time.monotonic() - start
    print(f"wrote {flags.out} as {dtype.name}, {seconds:.1f} s; train with --config.init_from={flags.out}")


def export_command(flags: argparse.Namespace) -> None:
    """A checkpoint becomes a directory in hub layout."""
    start = time.monotonic()
    refuse_existing(flags.out)
    workdir, _ = find(flags.checkpoint)
    model = load_model(flags.checkpoint)
    unlike = export_hf(
        model.params,
        model.config,
        workdir / TOKENIZER,
        flags.out,
        dtype=flags.dtype or model.info.get("dtype", "float32"),
        stock=flags.stock,
        info=model.info,
        watch=watch("exporting", "tensors"),
    )
    size = sum(path.stat().st_size for path in flags.out.iterdir())
    print(f"wrote {flags.out}: {size / 1e6:.1f} MB, {time.monotonic() - start:.1f} s")
    print(f"note: {unlike}" if unlike else "stock transformers computes exactly this model")
    if has_twin(flags.out):
        print("its PyTorch twin does: AutoModelForImageTextToText.from_pretrained(DIR, trust_remote_code=True)")


def verify_command(flags: argparse.Namespace) -> None:
    """Both models on the same images and prompts; the report, and exit status 1 out of tolerance."""
    from iadgpt_jax.convert.verify import verify

    report = verify(flags.checkpoint, flags.hf, flags.image)
    print(report.table())
    if flags.out:
        flags.out.write_text(report.json())
    if not report.within_tolerance:
        sys.exit(1)


def watch(verb: str, unit: str):
    def wrap(items: Iterable, total: int) -> Iterable:
        return progress(items, total, verb, unit)

    return wrap


def refuse_existing(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out} exists already; remove it or choose another --out")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="import|export|verify")
    dtype = dict(choices=sorted(EXPORT_DTYPES), help="what the weights are stored as (default: as they are)")

    one = commands.add_parser("import", help="Hugging Face directory -> checkpoint")
    one.add_argument("--hf", required=True, metavar="DIR|ID", help="directory or hub id of the model")
    one.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new checkpoint; must not exist")
    one.add_argument("--dtype", **dtype)
    one.set_defaults(command=import_command)

    one = commands.add_parser("export", help="checkpoint -> Hugging Face directory")
    one.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="training workdir or a step in it")
    one.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new directory; must not exist")
    one.add_argument("--stock", action="store_true", help="refuse while the fusion gates are not 0")
    one.add_argument("--dtype", **dtype)
    one.set_defaults(command=export_command)

    one = commands.add_parser("verify", help="run a checkpoint and a Hugging Face directory side by side")
    one.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="training workdir or a step in it")
    one.add_argument("--hf", required=True, type=Path, metavar="DIR", help="the directory to compare with")
    one.add_argument("--image", action="append", type=Path, metavar="FILE", help="compare on these (default: built-in)")
    one.add_argument("--out", type=Path, metavar="FILE", help="write the report as JSON, too")
    one.set_defaults(command=verify_command)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
