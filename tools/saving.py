"""What saving costs: how long a step waits for it, measured here; and how long a full-size state takes, computed.

    python tools/saving.py measure --megabytes=400 --out=workdir/saving
    python tools/saving.py table --config=configs/stage1.py:7b

`measure` saves random states as training does, in the background, between steps of a matrix product that takes about
--step_seconds, and compares the steps in which a save begins with the others. On CPUs steps and the writing share
cores; on accelerators only the copy to the host is in a step's way.

`table` prints the page's table (docs/reliability.md): bytes of the state that a configuration trains, the share of each
host, and the seconds by bandwidths that are assumptions, stated in the table's head.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import logging

from iadgpt_jax.alone import alone_in
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.whole_file import write_json
from launch.configuration import read_config

HOSTS = (1, 2, 4, 8, 16, 32)
TO_HOST = 10e9  # bytes a second that a host copies from all its devices: PCIe 4 x16 at less than half its rate
STORES = {"a network file system of 1 GB/s for all": (1e9, False), "a bucket, 0.5 GB/s a host": (0.5e9, True),
          "a local NVMe disk, 2 GB/s a host": (2e9, True)}  # fmt: skip
SAVES = 5
LEAVES = 16  # parameters of the measured state


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    logging.set_verbosity(logging.ERROR)
    args = parse(arguments)
    if args.command == "table":
        print(table(args.config))
        return
    if args.megabytes < 1 or args.step_seconds <= 0:
        raise InputError(f"--megabytes={args.megabytes} --step_seconds={args.step_seconds}: choose more than 0")
    with alone_in(args.out, f"measuring in {args.out}", "choose another --out"):
        found = measure(args.out, args.megabytes * 10**6, args.step_seconds)
        write_json(args.out / "saving.json", found)
    print(
        f"a state of {found['bytes'] / 1e6:.0f} MB on {found['device']}: a save keeps its step "
        f"{found['blocked']:.2f} s (at most {found['blocked_most']:.2f}), written {found['written']:.1f} s after "
        f"it began; a step takes {found['step']:.2f} s, and {found['beside']:.2f} s while a save is being written"
    )


def measure(folder: Path, size: int, seconds: float) -> dict:
    """Medians over SAVES saves, in seconds: `blocked`, that `Saver.save` returns after; `written`, that all is on disk
    after; `step`, of a step before any save; `beside`, of a step while a save is being written."""
    import jax
    import jax.numpy as jnp
    import optax

    from iadgpt_jax.checkpoint.workdir import Checkpoints
    from iadgpt_jax.train.saving import Saver
    from iadgpt_jax.train.state import create

    side = max(int((size / 12 / LEAVES) ** 0.5), 8)  # float32 with two moments each
    optimizer = optax.adamw(1e-3)
    params = {f"layer{i}": jax.random.normal(jax.random.key(i), (side, side // 4 * 4)) for i in range(LEAVES)}
    state = jax.jit(lambda params: create(params, "", optimizer))(params)
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(state))

    @jax.jit
    def product(x, times):
        return jax.lax.fori_loop(0, times, lambda _, y: y @ x / 32, x)

    x = jax.random.normal(jax.random.key(0), (1024, 1024))
    timed(product, x, 1)  # compiles
    times = max(1, round(20 * seconds / timed(product, x, 20)))
    step = statistics.median(timed(product, x, times) for _ in range(SAVES))

    checkpoints = Checkpoints(folder, keep=1)
    saver = Saver(checkpoints, folder, print)
    blocked, written, beside = [], [], []
    for number in range(1, SAVES + 1):
        state = state._replace(step=jnp.int32(number))
        jax.block_until_ready(state)
        began = time.monotonic()
        saver.save(state, number)
        blocked.append(time.monotonic() - began)
        beside.append(timed(product, x, times))
        saver.finish()
        written.append(time.monotonic() - began)
    saver.close()
    return {
        "bytes": total, "device": jax.devices()[0].device_kind, "saves": SAVES, "step": step,
        "blocked": statistics.median(blocked), "blocked_most": max(blocked),
        "written": statistics.median(written), "beside": statistics.median(beside),
    }  # fmt: skip


def timed(function, *arguments) -> float:
    """Seconds until the result is there."""
    began = time.monotonic()
    function(*arguments).block_until_ready()
    return time.monotonic() - began


def table(name: str) -> str:
    """The table in Markdown."""
    total = state_bytes(name)
    head = ["hosts", "GB a host", "a step waits", *(f"written to {store}" for store in STORES)]
    rows = [head, ["---"] * len(head)]
    for hosts in HOSTS:
        share = total / hosts
        seconds = [(share if each else total) / rate for rate, each in STORES.values()]
        rows.append([str(hosts), f"{share / 1e9:.1f}", f"{share / TO_HOST:.1f} s", *(f"{s:.0f} s" for s in seconds)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return f"`{name}`: {total / 1e9:.1f} GB, copied to a host at {TO_HOST / 1e9:.0f} GB/s\n\n" + "\n".join(lines)


def state_bytes(name: str) -> int:
    """Bytes of a state: float32 parameters, and two moments of those that a configuration trains. Raises InputError for
    a configuration that does not say what size it is, and for optimizers with other states."""
    import jax

    from iadgpt_jax.models.registry import init_params, preset
    from iadgpt_jax.train.optimizer import split_params

    config = read_config(name)
    if config.optimizer.kind != "adamw":
        raise InputError(f"{name} trains with {config.optimizer.kind}: the table is for adamw; choose :3b or :7b")
    model = preset(config.size, config.architecture)
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    trained, kept = split_params(shapes, config.frozen)
    moment = jax.numpy.dtype(config.optimizer.moments).itemsize
    each = sum(leaf.size for leaf in trained.values())
    return 4 * (each + sum(leaf.size for leaf in kept.values())) + 2 * moment * each


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure", help="how long a step waits for a save, here")
    one.add_argument("--megabytes", type=int, default=400, help="of the state (default: %(default)s)")
    one.add_argument("--step_seconds", type=float, default=0.5, help="of a step, about (default: %(default)s)")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="on the disk to be measured")
    one = commands.add_parser("table", help="what a full-size state takes")
    one.add_argument("--config", default="configs/stage1.py:7b", metavar="configs/stageN.py:SIZE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
