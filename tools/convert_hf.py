"""Convert weights: a Hugging Face directory of Qwen2.5-VL to a checkpoint, and a checkpoint to such a directory.

    iadgpt convert import --hf=DIR --out=DIR
    iadgpt convert export --checkpoint=DIR --out=DIR [--stock] [--dtype=bfloat16]
    iadgpt convert verify --checkpoint=DIR --hf=DIR [--image=PNG …] [--dataset=NAME] [--out=report.json]
    iadgpt convert roundtrip --hf=DIR --work=DIR
    iadgpt convert place --hf=DIR [--fake_devices=8] [--data=1 --fsdp=-1 --tensor=1]

import: --hf is a directory, or hf://OWNER/NAME[@REVISION] to download from the hub; --out becomes a checkpoint that
training starts from (--config.init_from=DIR). export: takes a workdir, one of its steps, or a Hugging Face directory
(to change its dtype, say); transformers loads the result. A trained model is exported with its PyTorch twin, which
computes it with torch and transformers alone; one line says what stock transformers would not reproduce, and --stock
refuses such a model. verify: runs both models (the twin, where there is one) and reports the differences; exit status 1
if they are larger than rounding. roundtrip: import, export, and a comparison of every bit, with time and memory of
each. place: streams weights onto a mesh, as training does with --config.init_from=HF_DIRECTORY, and reports time and
memory. Import and export move a chunk at a time: they need little memory and no accelerator.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from absl import logging
from flax.traverse_util import flatten_dict

from iadgpt_jax.checkpoint.files import STEPS, TOKENIZER
from iadgpt_jax.checkpoint.load import open_checkpoint
from iadgpt_jax.checkpoint.workdir import write_model_files
from iadgpt_jax.convert.hf_export import EXPORT_DTYPES, export_hf
from iadgpt_jax.convert.hf_import import open_hf, origin
from iadgpt_jax.convert.memory import Work
from iadgpt_jax.convert.shards import Shards
from iadgpt_jax.convert.side_files import copy_tokenizer
from iadgpt_jax.convert.stored import write_params
from iadgpt_jax.convert.twin import has_twin
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.digests import write_digests
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.progress import Meter, progress

AT_ONCE = 1 << 25  # elements compared at a time


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    logging.set_verbosity(logging.ERROR)  # Orbax warns of things that are intended here
    flags.command(flags)


def import_command(flags: argparse.Namespace) -> None:
    """A Hugging Face directory becomes step 0 of a workdir, written aside and renamed."""
    refuse_existing(flags.out)
    with Work() as work:
        hf = open_hf(flags.hf)
        size = sum(file.stat().st_size for file in hf.shards.files)
        print(f"{hf.directory}: {len(hf.shards)} tensors in {len(hf.shards.files)} files, model {hf.config.name}")
        dtype = EXPORT_DTYPES[flags.dtype] if flags.dtype else hf.dtype
        info = {"stage": 0, "image_side": 448, "map_space": "probability", "imported_from": origin(flags.hf)}
        aside = flags.out.with_name(f".{flags.out.name}.unfinished-{os.getpid()}")
        try:
            aside.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"cannot write {flags.out}: {error.strerror}; choose another --out") from error
        try:
            info = info | hf.info | {"dtype": dtype.name}
            write_model_files(aside, hf.config, Tokenizer.load(hf.directory), info)
            shutil.rmtree(aside / TOKENIZER)  # the model's own files instead, which hold more than ours
            (aside / TOKENIZER).mkdir()
            copy_tokenizer(hf.directory, aside / TOKENIZER)
            write_digests(aside / TOKENIZER)
            write_params(aside / STEPS, hf.pending(dtype), megabytes("importing"))
            aside.rename(flags.out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    print(f"wrote {flags.out} as {dtype.name}: {work.summary(size)}")
    print(f"train with --config.init_from={flags.out}")


def export_command(flags: argparse.Namespace) -> None:
    """A checkpoint becomes a directory in hub layout."""
    refuse_existing(flags.out)
    with Work() as work:
        opened = open_checkpoint(flags.checkpoint).checked()
        unlike = export_hf(
            opened.leaves(),
            opened.config,
            opened.tokenizer_directory,
            flags.out,
            dtype=flags.dtype or opened.dtype,
            stock=flags.stock,
            info=opened.info,
            watch=watch("exporting", "parts"),
        )
    size = sum(path.stat().st_size for path in flags.out.glob("*.safetensors"))
    print(f"wrote {flags.out}: {work.summary(size)}")
    print(f"note: {unlike}" if unlike else "stock transformers computes exactly this model")
    if has_twin(flags.out):
        print("its PyTorch twin does: AutoModelForImageTextToText.from_pretrained(DIR, trust_remote_code=True)")


def roundtrip_command(flags: argparse.Namespace) -> None:
    """Import, export in the same dtype, and compare the two directories' tensors bit for bit."""
    checkpoint, back = flags.work / "checkpoint", flags.work / "hf"
    main(["import", f"--hf={flags.hf}", f"--out={checkpoint}"])
    main(["export", f"--checkpoint={checkpoint}", f"--out={back}"])
    before, after = open_hf(flags.hf).shards, Shards(back)
    same = set(before) == set(after)
    for name in progress(sorted(before), len(before), "comparing", "tensors") if same else ():
        one, other = (shards.stored[name] for shards in (before, after))
        same = same and one.dtype == other.dtype and one.shape == other.shape
        rows = max(AT_ONCE // int(np.prod(one.shape[1:])), 1)
        for start in range(0, one.shape[0], rows) if same else ():
            stop = min(start + rows, one.shape[0])
            parts = (shards[name][start:stop] for shards in (before, after))
            same = same and len({np.ascontiguousarray(part).tobytes() for part in parts}) == 1
    print(f"{len(before)} tensors return bit for bit" if same else "the exported tensors DIFFER from the imported ones")
    if not same:
        sys.exit(1)


def place_command(flags: argparse.Namespace) -> None:
    """Stream the weights onto the devices of a mesh; report the memory used beyond the arrays themselves."""
    import jax

    from iadgpt_jax.models.registry import init_params, logical_axes
    from iadgpt_jax.sharding import ShardingRules, make_mesh, tree_shardings

    if flags.fake_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", flags.fake_devices)
    hf = open_hf(flags.hf)
    mesh = make_mesh(flags.data, flags.fsdp, flags.tensor)
    shapes = jax.eval_shape(lambda: init_params(hf.config, jax.random.key(0)))
    shardings = tree_shardings(mesh, ShardingRules(), logical_axes(hf.config), shapes)
    dtype = np.dtype(EXPORT_DTYPES[flags.dtype]) if flags.dtype else hf.dtype
    sizes = {"/".join(path): leaf.nbytes for path, leaf in flatten_dict(hf.pending(dtype)).items()}
    cpu = jax.devices()[0].platform == "cpu"  # there the arrays are in this process's memory
    placed = above = 0

    def measured(items: Iterable, total: int) -> Iterable:
        nonlocal placed, above
        for item in progress(items, total, "placing", "parameters"):
            with Work() as one:
                yield item
            placed += sizes[item[0]] if cpu else 0
            above = max(above, one.peak_bytes - placed)

    with Work() as work:
        params = hf.params(dtype, shardings, measured)
    held = sum(shard.data.nbytes for leaf in jax.tree.leaves(params) for shard in leaf.addressable_shards)
    per_device = held / len(mesh.local_devices)
    largest = max(int(np.prod(stored.shape)) * stored.dtype.itemsize for stored in hf.shards.stored.values())
    sides = " × ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    print(f"placed {hf.config.name} as {dtype.name} on {sides}: {work.summary(sum(sizes.values()))}")
    print(f"arrays {held / 2**30:.2f} GiB here, {per_device / 2**30:.2f} on each device; beyond them at most "
          f"{above / 2**30:.2f} GiB (the largest tensor is {largest / 2**30:.2f})")  # fmt: skip


def verify_command(flags: argparse.Namespace) -> None:
    """Run both models on the same images and prompts; print the report, and exit with status 1 if out of tolerance."""
    from iadgpt_jax.evaluate.parity import verify

    report = verify(
        flags.checkpoint,
        flags.hf,
        flags.image,
        dataset=flags.dataset,
        watch=watch("inspecting on both sides", "categories"),
        shots=flags.shots,
        seed=flags.seed,
        categories=[name for name in flags.categories.split(",") if name],
    )
    print(report.table())
    if flags.out:
        flags.out.write_text(report.json())
    if not report.within_tolerance:
        sys.exit(1)


def megabytes(verb: str):
    """A progress callback (bytes done, bytes in all) that counts in megabytes."""
    meter = Meter(verb, "MB")

    def show(done: int, total: int) -> None:
        if done == total or done >= 10**6:
            whole = -(-total // 10**6)
            meter(whole if done == total else min(done // 10**6, whole - 1), whole)

    return show


def watch(verb: str, unit: str):
    """A callback that wraps an iterable in a progress line."""

    def wrap(items: Iterable, total: int) -> Iterable:
        return progress(items, total, verb, unit)

    return wrap


def refuse_existing(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out} exists already; remove it or choose another --out")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    return parser().parse_args(arguments)


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, buckets=("checkpoint",))
    commands = made.add_subparsers(required=True, metavar="import|export|verify|roundtrip|place")
    dtype = dict(choices=sorted(EXPORT_DTYPES), help="dtype to store the weights in (default: as they are)")

    one = commands.add_parser("import", help="Hugging Face directory -> checkpoint")
    one.add_argument("--hf", required=True, metavar="DIR|hf://ID", help="directory, or hf://OWNER/NAME[@REVISION]")
    one.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new checkpoint; must not exist")
    one.add_argument("--dtype", **dtype)
    one.set_defaults(command=import_command)

    one = commands.add_parser("export", help="checkpoint -> Hugging Face directory")
    one.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="workdir, step, or hub directory")
    one.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new directory; must not exist")
    one.add_argument(
        "--stock",
        action="store_true",
        help="export without the twin; refuse a model that stock transformers would not reproduce",
    )
    one.add_argument("--dtype", **dtype)
    one.set_defaults(command=export_command)

    one = commands.add_parser("roundtrip", help="import, export, and compare every bit")
    one.add_argument("--hf", required=True, metavar="DIR|hf://ID", help="directory, or hf://OWNER/NAME[@REVISION]")
    one.add_argument(
        "--work", required=True, type=Path, metavar="DIR", help="folder for both results; needs twice the model's size"
    )
    one.set_defaults(command=roundtrip_command)

    one = commands.add_parser("place", help="Hugging Face directory -> the devices of a mesh, measured")
    one.add_argument("--hf", required=True, metavar="DIR|hf://ID", help="directory, or hf://OWNER/NAME[@REVISION]")
    one.add_argument("--dtype", **dtype)
    one.add_argument(
        "--fake_devices", type=int, default=0, metavar="N", help="fake CPU devices to make (default: none)"
    )
    for axis, size in (("data", 1), ("fsdp", -1), ("tensor", 1)):
        one.add_argument(f"--{axis}", type=int, default=size, help=f"mesh axis, -1 for the rest (default: {size})")
    one.set_defaults(command=place_command)

    one = commands.add_parser("verify", help="run a checkpoint and a Hugging Face directory side by side")
    one.add_argument("--checkpoint", required=True, type=Path, metavar="DIR", help="training workdir or a step in it")
    one.add_argument("--hf", required=True, type=Path, metavar="DIR", help="the directory to compare with")
    one.add_argument("--image", action="append", type=Path, metavar="FILE", help="compare on these (default: built-in)")
    one.add_argument(
        "--dataset", default="", metavar="NAME", help="also inspect this dataset with both models and compare AUROC"
    )
    one.add_argument("--categories", default="", metavar="A,B", help="only these of the dataset (default: all)")
    one.add_argument("--shots", type=int, default=4, metavar="K", help="references per query (default: %(default)s)")
    one.add_argument("--seed", type=int, default=0, help="of procedural products and draws (default: %(default)s)")
    one.add_argument("--out", type=Path, metavar="FILE", help="write the report as JSON, too")
    one.set_defaults(command=verify_command)
    return made


if __name__ == "__main__":
    main()
