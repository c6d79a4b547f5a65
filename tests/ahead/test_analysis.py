"""What is read from compiled HLO: FLOPs with loops multiplied out, collectives by kind and mesh axis, bounds on time.

Compiled here for eight fake devices; figures that only a TPU's HLO has are checked on lines of such HLO.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from iadgpt_jax.ahead.collectives import Collective, collectives, device_groups, spanned
from iadgpt_jax.ahead.hlo import Module, parse
from iadgpt_jax.ahead.report import advice, analyse, examine, memory_wanted, shard_bytes
from iadgpt_jax.ahead.roofline import link_bandwidth, roofline
from iadgpt_jax.ahead.work import flops, kernel_flops, traffic
from iadgpt_jax.chips import find_chip
from iadgpt_jax.sharding import make_mesh

LAYERS, ROWS, WIDTH = 5, 16, 64
V5E = find_chip("TPU v5 lite")


@functools.cache
def scanned():
    """Five layers x @ w scanned, rows split over data and fsdp, each w over fsdp: (mesh, function, its arguments)."""
    mesh = make_mesh(2, 4, 1)

    def loss(weights, x):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)
        return (x**2).sum()

    def place(shape, *axes):
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*axes)))

    weights = place((LAYERS, WIDTH, WIDTH), None, "fsdp", None)
    x = place((ROWS, WIDTH), ("data", "fsdp"))
    return mesh, jax.jit(jax.grad(loss), out_shardings=weights.sharding), (weights, x)


@functools.cache
def report():
    mesh, function, arguments = scanned()
    needed = 3 * 2 * LAYERS * ROWS * WIDTH**2
    return examine(function, arguments, mesh, V5E, needed)


def test_loops_are_multiplied_out():
    """Forward, and gradients of both factors but of the first layer's input, whose product XLA cannot leave out of the
    loop: 3 · 2·m·k·n per layer, an eighth of it on each device. cost_analysis counts one layer."""
    assert report()["compiled_flops"] == pytest.approx(report()["model_flops"], rel=0.01)
    assert report()["unknown_loops"] == report()["unknown_kernels"] == []
    _, function, arguments = scanned()
    once = function.lower(*arguments).compile().cost_analysis()["flops"]
    assert once < 0.6 * report()["compiled_flops"]


def test_collectives_are_counted_by_kind_and_axis():
    """Every layer gathers its weight over fsdp, forward and backward, and sums its gradient over all rows."""
    kinds, axes = report()["collectives"], report()["collectives_by_axis"]
    assert LAYERS <= kinds["all-gather"]["count"] <= 2 * LAYERS
    assert kinds["all-gather"]["bytes"] / kinds["all-gather"]["count"] == 4 * WIDTH**2
    assert kinds["all-gather"]["wire_bytes"] == pytest.approx(kinds["all-gather"]["bytes"] * 3 / 4)
    assert set(axes) <= {"data", "fsdp", "data+fsdp"} and "fsdp" in axes
    assert sum(row["count"] for row in axes.values()) == sum(row["count"] for row in kinds.values())
    assert any(name in kinds for name in ("all-reduce", "reduce-scatter"))


def test_memory_is_said_in_parts():
    """State: a device's quarter of the weights and eighth of the rows."""
    r = report()
    assert r["state_bytes"] == r["argument_bytes"] == 4 * (LAYERS * WIDTH**2 / 4 + ROWS * WIDTH / 8)
    assert r["hbm_peak_bytes"] == sum(r[f"{part}_bytes"] for part in ("argument", "temporary", "result", "code"))
    assert r["fits"] and r["hbm_capacity_bytes"] == V5E.hbm


def test_the_bound_is_the_slowest_resource():
    times = report()["roofline"]
    slowest = max(times[f"{name}_seconds"] for name in ("arithmetic", "memory", "links", "network"))
    assert times["step_seconds"] == slowest <= times["exposed_step_seconds"] * (1 + 1e-9)
    assert times["mfu"] == pytest.approx(report()["model_flops"] / V5E.flops / slowest)


def one(line: str, *locals_: str):
    """An instruction and its computation, from lines of HLO."""
    text = "\n".join(["ENTRY %main (a: f32[]) -> f32[] {", *(f"  {other}" for other in (*locals_, line)), "}"])
    module = parse(text)
    local = module.computations["main"]
    return list(local.values())[-1], local, module


LEFT, RIGHT = "%l = bf16[64,8,32]{2,1,0} parameter(0)", "%r = bf16[64,32,16]{2,1,0} parameter(1)"


def test_a_dot_counts_two_per_multiply_add():
    line = "%d = f32[64,8,16]{2,1,0} dot(%l, %r), lhs_batch_dims={0}, rhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_contracting_dims={1}"  # noqa: E501
    assert flops(*one(line, LEFT, RIGHT)[:2]) == 2 * 64 * 8 * 16 * 32


def test_a_batched_dot_written_as_a_convolution_counts_the_same():
    """A TPU writes batch entries as a spatial dimension that is dilated so that each meets one tap."""
    line = "%c = f32[64,8,16]{2,1,0:T(8,128)} convolution(%l, %r), window={size=64 stride=63 lhs_dilate=64}, dim_labels=0bf_0io->0bf"  # noqa: E501
    assert flops(*one(line, LEFT, RIGHT)[:2]) == 2 * 64 * 8 * 16 * 32


def test_a_convolution_skips_its_padding():
    locals_ = "%x = f32[1,10,3]{2,1,0} parameter(0)", "%k = f32[3,3,5]{2,1,0} parameter(1)"
    line = "%c = f32[1,10,5]{2,1,0} convolution(%x, %k), window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f"
    assert flops(*one(line, *locals_)[:2]) == 2 * 3 * 5 * (3 * 10 - 2)


def test_kernels_count_by_their_estimate_or_as_splash_attention():
    estimate = '%k = bf16[8]{0} custom-call(), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"cost_estimate": {"flops": 1234, "bytes_accessed": 5}}}'  # noqa: E501
    assert kernel_flops(*one(estimate)[:2]) == 1234
    q, k = "%q = bf16[28,1024,128]{2,1,0} parameter(0)", "%k = bf16[4,1024,128]{2,1,0} parameter(1)"
    line = '%splash_mha_fwd_residuals.1 = (bf16[28,1024,128]{2,1,0}, f32[28,1024,128]{2,1,0}) custom-call(%q, %k, %k), custom_call_target="tpu_custom_call"'  # noqa: E501
    assert kernel_flops(*one(line, q, k)[:2]) == 2 * 2 * 28 * 128 * 1024 * 1024
    assert kernel_flops(*one(line, q, k)[:2], {1024: 0.5}) == 2 * 28 * 128 * 1024 * 1024
    other = '%k = bf16[8]{0} custom-call(), custom_call_target="tpu_custom_call"'
    assert kernel_flops(*one(other)[:2]) is None


def test_traffic_counts_slices_not_the_stacks_they_come_from():
    text = """
%body (p: f32[28,100]) -> f32[100] {
  %p = f32[28,100]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %s = f32[1,100]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,100}
}

ENTRY %main (a: f32[28,100], i: s32[]) -> f32[1,100] {
  %a = f32[28,100]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %v = f32[28,100]{1,0:S(1)} copy(%a)
  ROOT %f = f32[1,100]{1,0} fusion(%a, %i), kind=kLoop, calls=%body
}
"""
    module = parse(text)
    local = module.computations["main"]
    assert traffic(local["f"], local, module) == 400 + 4 + 400
    assert traffic(local["v"], local, module) == 28 * 400, "on-chip memory is free"


def test_traffic_of_copies_and_slices_that_run_beside_computation():
    """Into on-chip memory: what is read; the other half of the instruction, and names for operands, cost nothing."""
    source = "%x = s8[1000]{0} parameter(0)"
    start = "%s = ((s8[1000]{0}), s8[100]{0:S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:100]}"
    assert traffic(*one(start, source)) == 100
    assert traffic(*one("%d = s8[100]{0:S(1)} slice-done(%s)", source, start)) == 0
    copy = "%c = (s8[1000]{0}, s8[1000]{0}, u32[]{:S(2)}) copy-start(%x)"
    assert traffic(*one(copy, source)) == 2000


@pytest.mark.parametrize(
    "attributes, groups",
    [
        ("replica_groups={{0,1},{2,3}}", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'b'}", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}", [[0, 2], [1, 3]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
        ("channel_id=1", [[0, 1, 2, 3]]),
    ],
)
def test_device_groups_in_every_spelling(attributes, groups):
    instruction, _, _ = one(f"%g = f32[4]{{0}} all-gather(%x), {attributes}", "%x = f32[1]{0} parameter(0)")
    assert device_groups(instruction, 4) == groups


def test_groups_span_the_mesh_axes_along_which_they_differ():
    mesh = {"data": 2, "fsdp": 2, "tensor": 2}
    assert spanned([[0, 1], [2, 3]], mesh) == ("tensor",)
    assert spanned([[0, 2], [1, 3]], mesh) == ("fsdp",)
    assert spanned([[0, 2, 4, 6]], mesh) == ("data", "fsdp")
    assert spanned([[3]], mesh) == ()


def test_collectives_started_early_or_fused_with_products_are_hidden():
    text = """
%fused (p: f32[8]) -> f32[32] {
  %p = f32[8]{0} parameter(0)
  %g2 = f32[32]{0} all-gather(%p), replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %product = f32[32]{0} dot(%g2, %g2)
}

%alone (p: f32[32], i: s32[]) -> f32[8] {
  %p = f32[32]{0} parameter(0)
  %i = s32[] parameter(1)
  %sum = f32[32]{0} all-reduce(%p), replica_groups={{0,1,2,3}}, to_apply=%fused
  %view = f32[32]{0} bitcast(%sum)
  ROOT %own = f32[8]{0} dynamic-slice(%view, %i), dynamic_slice_sizes={8}
}

ENTRY %main (a: f32[8]) -> f32[32] {
  %a = f32[8]{0} parameter(0)
  %s = (f32[8]{0}, f32[32]{0}) all-gather-start(%a), replica_groups={{0,1,2,3}}, dimensions={0}
  %d = f32[32]{0} all-gather-done(%s)
  %f = f32[32]{0} fusion(%a), kind=kCustom, calls=%fused
  %i = s32[] constant(0)
  %o = f32[8]{0} fusion(%f, %i), kind=kCustom, calls=%alone
  ROOT %r = f32[32]{0} all-reduce(%d), replica_groups={{0,1,2,3}}, to_apply=%fused
}
"""
    found = collectives(parse(text), {"data": 1, "fsdp": 4, "tensor": 1})
    assert [(c.kind, c.payload, c.wire, c.hidden) for c in found] == [
        ("all-gather", 128, 96, True), ("all-gather", 128, 96, True), ("reduce-scatter", 128, 96, False),
        ("all-reduce", 128, 192, False),
    ]  # fmt: skip


def test_what_another_core_runs_counts_and_is_hidden():
    text = """
%scatter (p: f32[32], t: token[]) -> f32[8] {
  %p = f32[32]{0} parameter(0)
  %t = token[] parameter(1)
  ROOT %r = f32[8]{0} reduce-scatter(%p), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add
}, execution_thread="sparsecore"

ENTRY %main (a: f32[32]) -> f32[8] {
  %a = f32[32]{0} parameter(0)
  %s = ((f32[32]{0}), f32[8]{0}) call-start(%a), async_execution_thread="sparsecore", to_apply=%scatter
  ROOT %d = f32[8]{0} call-done(%s)
}
"""
    module = parse(text)
    found = collectives(module, {"data": 1, "fsdp": 4, "tensor": 1})
    assert [(c.kind, c.payload, c.wire, c.hidden) for c in found] == [("reduce-scatter", 128, 96, True)]
    moved = [traffic(use.instruction, module.computations[use.computation], module) for use in module.uses()]
    assert sum(moved) == 128 + 32


def test_a_collective_spread_over_fusions_counts_once():
    """A gather of 4 × 8 floats that starts, runs beside a product of two arrays of 64, and is awaited: sent once, its
    shard read and its result written once; the product's fusion carries both along for nothing."""
    gather = "all-gather(%p), channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}"
    flags = 'backend_config={"async_collective_fusion_config":{"flag_start":"2"}}'
    text = f"""
%start (p: f32[8]) -> (f32[8], f32[32], u32[]) {{
  %p = f32[8]{{0}} parameter(0)
  %g1 = f32[32]{{0}} {gather}, {flags}
  ROOT %c = (f32[8]{{0}}, f32[32]{{0}}, u32[]{{:S(2)}}) custom-call(%g1), custom_call_target="AsyncCollectiveStart"
}}

%beside (p: f32[8], q: f32[32], x: f32[64], y: f32[64]) -> (f32[64], f32[8], f32[32], f32[32]) {{
  %p = f32[8]{{0}} parameter(0)
  %q = f32[32]{{0}} parameter(1)
  %x = f32[64]{{0}} parameter(2)
  %y = f32[64]{{0}} parameter(3)
  %g2 = f32[32]{{0}} {gather}, {flags}
  %xy = f32[64]{{0}} multiply(%x, %y)
  ROOT %t = (f32[64]{{0}}, f32[8]{{0}}, f32[32]{{0}}, f32[32]{{0}}) tuple(%xy, %p, %q, %g2)
}}

%await (p: f32[8], q: f32[32]) -> f32[32] {{
  %p = f32[8]{{0}} parameter(0)
  %q = f32[32]{{0}} parameter(1)
  %g3 = f32[32]{{0}} {gather}, {flags}
  ROOT %c = f32[32]{{0}} custom-call(%p, %q, %g3), custom_call_target="AsyncCollectiveDone"
}}

ENTRY %main (a: f32[8], x: f32[64]) -> f32[32] {{
  %a = f32[8]{{0}} parameter(0)
  %x = f32[64]{{0}} parameter(1)
  %s = (f32[8]{{0}}, f32[32]{{0}}, u32[]{{:S(2)}}) fusion(%a), kind=kCustom, calls=%start
  %s0 = f32[8]{{0}} get-tuple-element(%s), index=0
  %s1 = f32[32]{{0}} get-tuple-element(%s), index=1
  %b = (f32[64]{{0}}, f32[8]{{0}}, f32[32]{{0}}, f32[32]{{0}}) fusion(%s0, %s1, %x, %x), kind=kOutput, calls=%beside
  %b1 = f32[8]{{0}} get-tuple-element(%b), index=1
  %b2 = f32[32]{{0}} get-tuple-element(%b), index=2
  ROOT %d = f32[32]{{0}} fusion(%b1, %b2), kind=kCustom, calls=%await
}}
"""
    module = parse(text)
    found = collectives(module, {"data": 1, "fsdp": 4, "tensor": 1})
    assert [(c.kind, c.payload, c.wire, c.times, c.hidden) for c in found] == [("all-gather", 128, 96, 1, True)]
    local = module.computations["main"]
    assert [traffic(local[name], local, module) for name in "sbd"] == [32 + 128, 3 * 256, 0]


class Place:
    """A device at a place of a torus, in a slice."""

    def __init__(self, coords, slice_index=0):
        self.coords, self.slice_index = coords, slice_index


class Grid:
    """As much of a mesh as bounds need."""

    def __init__(self, devices, names):
        self.devices, self.axis_names = devices, names


def test_time_on_links_and_between_slices():
    devices = np.array([[Place((x, y, 0), s) for x in range(4) for y in range(4)] for s in range(2)], dtype=object)
    mesh = Grid(devices.reshape(2, 16), ("data", "fsdp"))
    chip = find_chip("TPU v5 lite")
    assert link_bandwidth(chip, mesh, ("fsdp",)) == 2 * chip.link, "two dimensions of 4, neither closed into a ring"
    inside = Collective("all-gather", 1e9, 1e9, 2, ("fsdp",), True)
    across = Collective("all-reduce", 1e9, 1e9, 1, ("data",), False)
    bounds = roofline(chip, mesh, chip.flops, 0.0, [inside, across])
    assert bounds.arithmetic == 1.0
    assert bounds.links == pytest.approx(2 * 1e9 / (2 * chip.link))
    assert bounds.network == pytest.approx(1e9 / chip.network)
    assert bounds.exposed == pytest.approx(1.0 + bounds.network)


def test_what_does_not_fit_says_by_how_much_and_what_helps():
    message = "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 21.50G of 15.75G hbm. Exceeded hbm capacity by 5.75G."  # noqa: E501
    assert memory_wanted(message) == 21.5 * 2**30
    other = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (128.00G) exceeds available HBM (15.75G)."  # noqa: E501
    assert memory_wanted(other) == 128 * 2**30
    assert memory_wanted("INVALID_ARGUMENT: something else") is None
    r = {"hbm_peak_bytes": 21.5 * 2**30, "hbm_capacity_bytes": 15.75 * 2**30, "state_bytes": 2**30,
         "mesh": {"data": 1, "fsdp": 16, "tensor": 1}}  # fmt: skip
    assert "5.8 GiB too much; try config.rows=16 (one row per chip), then config.remat=full" in advice(r, 32, "mlp")
    assert "state alone takes 15.0 GiB: raise config.mesh.fsdp" in advice(r | {"state_bytes": 15 * 2**30}, 32, "mlp")


def test_trips_are_those_of_the_loop_that_stands_there():
    """From 1 up to 8 in steps of 2, step and start carried along by the loop itself, as a TPU's windowed products are;
    an attribute with line breaks before it does not end the computation."""
    text = """
%cond (p: (s32[], s32[], f32[8,8])) -> pred[] {
  %p = (s32[], s32[], f32[8,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %end = s32[] constant(8)
  ROOT %c = pred[] compare(%i, %end), direction=LT
}

%body (p: (s32[], s32[], f32[8,8])) -> (s32[], s32[], f32[8,8]) {
  %p = (s32[], s32[], f32[8,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %by = s32[] get-tuple-element(%p), index=1
  %x = f32[8,8]{1,0} get-tuple-element(%p), index=2
  %k = f32[8,8]{1,0} custom-call(%x), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"block": 512
}}, metadata={op_name="kernel"}
  %d = f32[8,8]{1,0} dot(%k, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %next = s32[] add(%i, %by)
  ROOT %t = (s32[], s32[], f32[8,8]{1,0}) tuple(%next, %by, %d)
}

ENTRY %main (a: f32[8,8]) -> (s32[], s32[], f32[8,8]) {
  %a = f32[8,8]{1,0} parameter(0)
  %one = s32[] constant(1)
  %first = s32[] copy(%one)
  %two = s32[] constant(2)
  %start = (s32[], s32[], f32[8,8]{1,0}) tuple(%first, %two, %a)
  ROOT %w = (s32[], s32[], f32[8,8]{1,0}) while(%start), condition=%cond, body=%body
}
"""
    module = parse(text)
    products = [use for use in module.uses() if use.instruction.opcode == "dot"]
    assert [use.times for use in products] == [4] and not module.unknown
    assert 'op_name="kernel"' in module.computations["body"]["k"].attributes


def test_unknown_trip_counts_are_reported():
    text = """
%cond (p: s32[]) -> pred[] {
  %p = s32[] parameter(0)
  ROOT %c = pred[] compare(%p, %p), direction=LT
}

%body (p: s32[]) -> s32[] {
  ROOT %p = s32[] parameter(0)
}

ENTRY %main (a: s32[]) -> s32[] {
  %a = s32[] parameter(0)
  ROOT %w = s32[] while(%a), condition=%cond, body=%body
}
"""
    module = parse(text)
    assert sum(use.times for use in module.uses() if use.computation == "body") == 1
    assert module.unknown == {"w"}
    assert isinstance(module, Module)
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("nothing")


def test_shard_bytes_of_replicated_leaves_count_whole():
    mesh = make_mesh(2, 4, 1)
    leaf = jax.ShapeDtypeStruct((8, 3), jnp.bfloat16, sharding=NamedSharding(mesh, PartitionSpec()))
    assert shard_bytes({"a": leaf}) == 48


def test_analysis_needs_no_devices():
    """A report is a function of the text, the mesh and the chip."""
    mesh, function, arguments = scanned()
    text = function.lower(*arguments).compile().as_text()
    again = analyse(parse(text), mesh, V5E, report()["model_flops"])
    assert again == {name: report()[name] for name in again}
