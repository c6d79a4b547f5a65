"""Say what this machine can do, and what is missing.

    iadgpt doctor [DIR …]     versions, devices, kernels, memory, cache, and the data and checkpoints in these folders
    iadgpt --version          the versions and the devices alone

The folders are looked through three levels deep; the default is the current one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import logging

from iadgpt_jax import __version__
from iadgpt_jax.checkpoint.files import MODEL_FILE, finished_steps
from iadgpt_jax.errors import InputError, Parser, clear_errors, printable

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tensorflow-cpu")
# What an optional package is for, and how to get it.
OPTIONAL = {
    "torch": ("comparing an export with transformers (iadgpt convert verify)", "pip install torch"),
    "libtpu": ("compiling for TPU slices (iadgpt compile)", "pip install 'iadgpt_jax[tpu]'"),
    "openai": ("a judge of answers, and captions for a corpus", "pip install 'iadgpt_jax[endpoint]'"),
    "fastapi": ("answering over HTTP (iadgpt serve)", "pip install 'iadgpt_jax[app]'"),
    "gradio": ("the app in a browser (iadgpt app)", "pip install 'iadgpt_jax[app]'"),
    "gcsfs": ("training workdirs and checkpoints in gs://", "pip install 'iadgpt_jax[cloud]'"),
    "icrawler": ("collecting photographs for a corpus (tools/build_corpus.py)", "pip install 'iadgpt_jax[corpus]'"),
    "apache_beam": ("preparing data on several machines", "pip install 'iadgpt_jax[beam]'"),
}
DEPTH = 3  # levels of folders to look through
ENTRIES = 2000  # of them, at most: a home folder may hold millions
GIB = 2**30


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.ERROR)
    flags = parse(arguments)
    for folder in flags.folders:
        if not folder.is_dir():
            raise InputError(f"no folder {folder}: name folders that may hold data or checkpoints")
    found = versions() | devices()
    if not flags.versions:
        found |= machine() | cache() | lying_in(flags.folders)
        found["missing"] = missing(found)
    print(json.dumps(found, indent=2) if flags.json else printable("\n".join(lines(found))))


def versions() -> dict:
    return {
        "iadgpt": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
    }


def version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def devices() -> dict:
    """What JAX finds, and the attention kernel that it gets."""
    try:
        import jax

        from iadgpt_jax.models.attention import choose
        from iadgpt_jax.sharding import ShardingRules

        own = jax.local_devices()
    except (ImportError, RuntimeError) as error:  # RuntimeError: a backend that does not start
        return {"devices": [], "fault": " ".join(str(error).split())[:300]}
    kernels = {name: choose("auto", None, ShardingRules(), jax.numpy.dtype(name)).kind for name in DTYPES}
    return {"devices": [told(device) for device in own], "kernels": kernels}


DTYPES = ("float32", "bfloat16")


def told(device) -> dict:
    """A device, and its memory where it says how much it has (a CPU does not)."""
    from iadgpt_jax.chips import find_chip

    memory = (device.memory_stats() or {}).get("bytes_limit")
    chip = find_chip(device.device_kind)
    facts = {"platform": device.platform, "kind": device.device_kind}
    facts |= {"memory_gib": round(memory / GIB, 1)} if memory else {}
    return facts | ({"bfloat16_teraflops": chip.flops / 1e12} if chip else {})


def machine() -> dict:
    """Processors and memory that this process may use, and the free disk where it runs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {"cores": cores, "disk_free_gib": round(shutil.disk_usage(".").free / GIB, 1)}
    try:
        values = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(values[key].split()[0]) / 2**20 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return facts  # another system than Linux
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text) / GIB)
    return facts | {"memory_gib": round(total, 1), "memory_free_gib": round(min(free, total), 1)}


def cache() -> dict:
    """Where compiled programs are kept, and how much of them."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if not folder:
        return {"compilation_cache": None}
    size = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()) if Path(folder).is_dir() else 0
    return {"compilation_cache": {"folder": folder, "mib": round(size / 2**20, 1)}}


def lying_in(folders: Sequence[Path]) -> dict:
    """Datasets and checkpoints below the folders, known by the names of their files."""
    from iadgpt_jax.data.sources.prepared import is_prepared

    datasets, checkpoints = {}, {}
    for path in below(folders):
        with contextlib.suppress(PermissionError):  # it may be listed, and what lies in it not be read
            if (path / MODEL_FILE).is_file():
                checkpoints[str(path)] = finished_steps(path)[-1:] or None
            elif is_prepared(path):
                datasets[str(path)] = "prepared"
            elif (path / "good").is_dir() and (path / "inspect").is_dir():
                datasets[str(path)] = "good and inspect"
            elif any(path.glob("*/train/good")):
                datasets[str(path)] = f"MVTec layout, {len(list(path.glob('*/train/good')))} categories"
    return {"datasets": datasets, "checkpoints": {k: v[0] if v else None for k, v in checkpoints.items()}}


def below(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders and those in them, level by level, hidden ones and what cannot be read aside."""
    level = list(folders)
    for _ in range(DEPTH + 1):
        following = []
        for folder in level:
            try:
                with os.scandir(folder) as entries:
                    inside = [Path(entry.path) for entry in entries
                              if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]  # fmt: skip
            except OSError:
                continue
            yield folder
            following += inside
            if len(following) > ENTRIES:
                return
        level = sorted(following)


def missing(found: dict) -> list[str]:
    """What would be possible with more, and how to get it."""
    said = []
    if found.get("fault"):
        said.append(f"JAX finds no device ({found['fault']}): check JAX_PLATFORMS and the driver")
    elif all(device["platform"] == "cpu" for device in found["devices"]):
        said.append("no accelerator: the tiny model trains and inspects on a CPU; the 3B and 7B want a TPU or a GPU "
                    "(pip install 'iadgpt_jax[tpu]' or 'iadgpt_jax[cuda]')")  # fmt: skip
    for module, (purpose, remedy) in OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            said.append(f"{module}: for {purpose}; {remedy}")
    if not found["compilation_cache"]:
        said.append("compiled programs are not kept: run the command as iadgpt, or set JAX_COMPILATION_CACHE_DIR")
    if not found["checkpoints"]:
        said.append("no checkpoint here: iadgpt quickstart trains a small one")
    if not found["datasets"]:
        said.append("no dataset here: iadgpt prepare --help says what layouts are read; procedural products need none")
    return said


def lines(found: dict) -> list[str]:
    """What a person reads."""
    kinds: dict[str, int] = {}
    for device in found["devices"]:
        memory = f" of {device['memory_gib']} GiB" if "memory_gib" in device else ""
        kinds[f"{device['kind']}{memory}"] = kinds.get(f"{device['kind']}{memory}", 0) + 1
    rows = [
        ("iadgpt", f"{found['iadgpt']}, Python {found['python']}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items())),
        ("devices", ", ".join(f"{count} × {kind}" for kind, count in kinds.items()) or f"none: {found['fault']}"),
    ]
    if "kernels" in found:
        rows.append(("attention", ", ".join(f"{kernel} in {dtype}" for dtype, kernel in found["kernels"].items())))
    if "missing" in found:
        memory = f"{found['memory_free_gib']} of {found['memory_gib']} GiB free, " if "memory_gib" in found else ""
        kept = found["compilation_cache"]
        rows += [
            ("processor", f"{found['cores']} cores"),
            ("memory", f"{memory}disk: {found['disk_free_gib']} GiB free"),
            ("compiled", f"{kept['mib']} MiB in {kept['folder']}" if kept else "not kept"),
            *(("dataset", f"{path} ({kind})") for path, kind in found["datasets"].items()),
            *(("checkpoint", f"{path} ({at(step)})") for path, step in found["checkpoints"].items()),
            *(("missing", line) for line in found["missing"]),
        ]
    return [f"{name:<11} {text}" for name, text in rows]


def at(step: int | None) -> str:
    return "no step saved yet" if step is None else f"step {step}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    return parser().parse_args(arguments)


def parser() -> Parser:
    made = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "folders", nargs="*", type=Path, default=[Path(".")], metavar="DIR", help="where to look for data"
    )
    made.add_argument("--versions", action="store_true", help="versions and devices alone")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


if __name__ == "__main__":
    main()
