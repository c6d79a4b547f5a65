"""What a slice's line changes: the mesh covers the slice, rows divide by it, and an epoch stays an epoch."""

from __future__ import annotations

import importlib
import math

import pytest

from configs.slices import FITS
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import preset
from iadgpt_jax.models.remat import POLICIES

WHERE = sorted({(size, topology) for size, topology, _ in FITS})


def get_config(stage: int, size: str):
    return importlib.import_module(f"configs.stage{stage}").get_config(size)


def devices(topology: str) -> int:
    kind, _, sizes = topology.partition(":")
    return math.prod(map(int, sizes.split("x"))) * (2 if kind == "tpu7x" else 1)


@pytest.mark.parametrize("stage", (1, 2, 3))
@pytest.mark.parametrize("size, topology", WHERE)
def test_mesh_and_rows_fit_the_slice(stage, size, topology):
    plain, c = get_config(stage, size), get_config(stage, f"{size}@{topology}")
    assert math.prod(c.mesh.values()) == devices(topology)
    assert preset(size).language.kv_heads % c.mesh.tensor == 0
    assert c.rows % (c.mesh.data * c.mesh.fsdp) == 0 and c.rows % max(c.pack.group, 1) == 0
    assert c.remat in POLICIES
    assert c.instances / c.rows == plain.instances / plain.rows
    assert c.steps * c.rows == pytest.approx(plain.steps * plain.rows, rel=0.01)


def test_several_slices_lie_along_data():
    one, two = get_config(3, "7b@v5p:2x2x4"), get_config(3, "7b@2xv5p:2x2x4")
    assert (two.mesh.data, two.mesh.fsdp) == (2, one.mesh.fsdp)
    assert two.rows == 2 * one.rows and two.remat == one.remat


def test_a_slice_without_a_line_is_sharded_whole():
    c = get_config(3, "7b@v5p:8x8x8")
    assert c.mesh.to_dict() == {"data": 1, "fsdp": 512, "tensor": 1} and c.rows == 512


def test_no_slice_changes_nothing_and_wrong_ones_are_refused():
    assert get_config(3, "7b").slice == ""
    with pytest.raises(InputError, match="no slice 'v5p': write a size as 7b@v5p:2x2x4"):
        get_config(3, "7b@v5p")
    with pytest.raises(InputError, match="tiny@v5e:4x4: slices are for :3b and :7b"):
        get_config(3, "tiny@v5e:4x4")


@pytest.mark.parametrize("recipe", ["", ",paper"])
@pytest.mark.parametrize("name", ["v5p:0", "v5p:0x0", "0xv5p:2x2x4", "v5p:2x", "v5p:2x2x4,paper", "v5p:١x٢"])
def test_a_slice_that_cannot_be_is_one_line(name, recipe):
    with pytest.raises(InputError, match=f"no slice '{name}'"):
        get_config(3, f"7b{recipe}@{name}")


def test_the_papers_rows_name_the_slices_they_spread_over():
    with pytest.raises(InputError, match="8 rows does not spread over 27 chips: choose a slice of 1, 2, 4, 8, 16, 32"):
        get_config(3, "7b,paper@v5p:3x3x3")
    for chips in (1, 2, 4, 8, 16, 32):
        mesh = get_config(3, f"7b,paper@v5p:{chips}").mesh
        assert mesh.data * mesh.fsdp * mesh.tensor == chips
