"""Import in several processes: each reads the slices its devices hold, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.convert.checkpoints import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SHAPE = dict(
    vision=dict(width=32, mlp=48, out=64), language=dict(width=64, mlp=256, heads=4, mrope_section=(2, 3, 3))
)  # fmt: skip

WORKER = """
import json, sys
sys.path.insert(0, {root!r})
from iadgpt_jax.distributed import joined

class Counting:
    '''A tensor of a file, which counts the bytes that are read from it.'''
    def __init__(self, tensor):
        self.tensor = tensor
    def __getitem__(self, index):
        global read
        values = self.tensor[index]
        read += values.nbytes
        return values

with joined():
    import jax, numpy as np
    from iadgpt_jax.convert.hf_import import open_hf
    from iadgpt_jax.models.registry import init_params, logical_axes
    from iadgpt_jax.sharding import ShardingRules, make_mesh, tree_shardings

    hf = open_hf({hf!r})
    inner, read = type(hf.shards).__getitem__, 0
    type(hf.shards).__getitem__ = lambda shards, name: Counting(inner(shards, name))
    whole = hf.params()
    in_all, counts = read, {{}}
    shapes = jax.eval_shape(lambda: init_params(hf.config, jax.random.key(0)))
    for sizes in ((1, 8, 1), (1, 4, 2), (2, 2, 2)):
        shardings = tree_shardings(make_mesh(*sizes), ShardingRules(), logical_axes(hf.config), shapes)
        read = 0
        params = hf.params(shardings=shardings)
        held = 0
        for leaf, values in zip(jax.tree.leaves(params), jax.tree.leaves(whole), strict=True):
            parts = {{str(shard.index): shard for shard in leaf.addressable_shards}}
            for shard in parts.values():
                assert np.array_equal(np.asarray(shard.data), values[shard.index])
                held += shard.data.nbytes
        counts["x".join(map(str, sizes))] = [read, held]
    with open({out!r} + f"/{{jax.process_index()}}.json", "w") as file:
        json.dump([in_all, counts], file)
"""


@pytest.mark.slow
def test_each_process_reads_only_what_its_devices_hold(tmp_path):
    """Two processes of four devices, under three meshes: every value arrives, and the bytes read are the bytes held."""
    write_checkpoint(tmp_path / "hf", **SHAPE)
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER.format(root=str(ROOT), hf=str(tmp_path / "hf"), out=str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "launch/local.py", "--processes=2", "--devices=4", "--", str(worker)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for process in range(2):
        in_all, counts = json.loads((tmp_path / f"{process}.json").read_text())
        for mesh, (read, held) in counts.items():
            assert held - 12 <= read <= 1.05 * held, mesh  # three gates are not stored; a cut bundle is read whole
        assert counts["1x8x1"][0] < 0.6 * in_all and counts["1x4x2"][0] < 0.6 * in_all
        assert counts["2x2x2"][0] > 0.9 * in_all  # data parallelism: each process holds a whole copy
