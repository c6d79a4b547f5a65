"""How a process finds out which of several it is, and which rows it has to bring."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from iadgpt_jax import distributed
from iadgpt_jax.distributed import (
    check_agreement,
    cluster_of,
    code_version,
    decided,
    gpus_of_single_task,
    process_from_variables,
)
from iadgpt_jax.errors import TRY_AGAIN, InputError
from iadgpt_jax.sharding import ShardingRules, make_mesh, row_share, rows_sharding

ROOT = Path(__file__).resolve().parents[1]
SRUN = {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_STEP_NODELIST": "n[1-4]", "SLURM_STEP_TASKS_PER_NODE": "1(x4)"}
VARIABLES = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
GKE = {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}


@pytest.mark.parametrize(
    ("environment", "tpu", "cluster"),
    [
        ({}, False, None),
        (VARIABLES, False, "variables"),
        (VARIABLES | GKE, True, "variables"),
        (SRUN, False, "slurm"),
        (SRUN | {"SLURM_NTASKS": "1"}, False, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, False, None),  # the batch script itself, outside of srun
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1"}, False, "mpi"),
        ({}, True, "tpu"),
        (GKE | {"TPU_SKIP_MDS_QUERY": "true"}, True, "tpu"),
        ({"TPU_SKIP_MDS_QUERY": "1"}, True, None),
        ({"JAX_PLATFORMS": "cpu"}, True, None),
        ({"JAX_PLATFORMS": "tpu,cpu"}, True, "tpu"),
    ],
)
def test_the_environment_tells_what_a_process_belongs_to(environment, tpu, cluster):
    assert cluster_of(environment, tpu) == cluster


def test_a_process_has_all_three_variables_or_none():
    assert process_from_variables(VARIABLES) == ("host:1", 2, 1)
    for missing in VARIABLES:
        with pytest.raises(InputError, match=f"{missing} is not set"):
            process_from_variables({name: value for name, value in VARIABLES.items() if name != missing})
    with pytest.raises(InputError, match="JAX_PROCESS_ID=2 is not below JAX_NUM_PROCESSES=2"):
        process_from_variables(VARIABLES | {"JAX_PROCESS_ID": "2"})
    with pytest.raises(InputError, match="whole numbers"):
        process_from_variables(VARIABLES | {"JAX_PROCESS_ID": "one"})


def test_the_one_task_of_a_slurm_node_takes_all_its_gpus():
    gpus = {"SLURM_GPUS_ON_NODE": "8"}
    assert gpus_of_single_task(SRUN | gpus) == list(range(8))
    assert gpus_of_single_task(SRUN | gpus | {"SLURM_STEP_TASKS_PER_NODE": "8(x4)"}) == []
    assert gpus_of_single_task(SRUN | gpus | {"SLURM_STEP_TASKS_PER_NODE": "11"}) == []
    assert gpus_of_single_task(SRUN) == []


class Spread:
    """Stands in for a NamedSharding over devices of several processes; `mesh_processes` says whose each device is."""

    def __init__(self, data: int, fsdp: int, tensor: int, mesh_processes):
        self.real = rows_sharding(make_mesh(data, fsdp, tensor), ShardingRules())
        self.mesh, self.spec = self.real.mesh, self.real.spec
        self.owner = dict(zip(self.mesh.devices.flat, mesh_processes, strict=True))

    def devices_indices_map(self, shape):
        parts = self.real.devices_indices_map(shape).items()
        return {type("Device", (), {"process_index": self.owner[device]})(): part for device, part in parts}


@pytest.mark.parametrize(
    ("mesh", "owners", "shares"),
    [
        ((2, 2, 2), [0, 0, 0, 0, 1, 1, 1, 1], [0, 1]),  # two hosts of four devices
        ((8, 1, 1), [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
        ((1, 4, 2), [0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, 2, 2, 3, 3]),  # tensor spans two processes
        ((1, 2, 4), [0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 1, 1]),
        ((1, 1, 8), [0, 0, 0, 0, 1, 1, 1, 1], [0, 0]),  # all hold all rows
        ((4, 1, 2), [0, 0, 1, 1, 0, 0, 1, 1], [0, 1]),  # rows of one process need not be neighbours
    ],
)
def test_every_row_is_brought_by_those_that_hold_it(monkeypatch, mesh, owners, shares):
    got = []
    for process in range(max(owners) + 1):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        got.append(row_share(Spread(*mesh, owners), 8))
    assert got == [(share, max(shares) + 1) for share in shares]


def test_rows_that_cannot_be_shared_are_input_errors():
    with pytest.raises(InputError, match="6 rows do not divide by 4"):
        row_share(rows_sharding(make_mesh(2, 2, 2), ShardingRules()), 6)
    with pytest.raises(InputError, match="that 3 processes cannot share evenly"):
        row_share(Spread(1, 4, 2, [0, 0, 0, 1, 1, 1, 2, 2]), 8)


def test_alone_a_process_brings_everything():
    for mesh in ((8, 1, 1), (2, 2, 2), (1, 1, 8)):
        assert row_share(rows_sharding(make_mesh(*mesh), ShardingRules()), 8) == (0, 1)


def test_alone_a_process_decides_and_agrees():
    assert decided(lambda: {"step": 5}) == {"step": 5}
    check_agreement({"seed": 0})
    with pytest.raises(InputError, match="no room"):
        decided(lambda: (_ for _ in ()).throw(InputError("no room")))


@pytest.fixture
def of_three(monkeypatch):
    """As process 0 of three; the others have `theirs` to say."""

    def become(*theirs):
        monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr("iadgpt_jax.distributed.gathered", lambda mine: [mine, *theirs])

    return become


def test_processes_that_disagree_are_named_with_what_they_have(of_three):
    same, other = ({"host": "b", "facts": {"seed": 0, "code": "ab"}}, {"host": "c", "facts": {"seed": 1, "code": "ab"}})
    of_three(same, same)
    check_agreement({"seed": 0, "code": "ab"})
    of_three(same, other)
    with pytest.raises(InputError, match=r"process 2 on c has seed 1 \(there 0\); start the same command"):
        check_agreement({"seed": 0, "code": "ab"})


def test_a_fault_on_process_0_is_everyones(of_three):
    of_three({}, {})
    assert decided(lambda: [5]) == [5]
    with pytest.raises(InputError, match="in use"):
        decided(lambda: (_ for _ in ()).throw(InputError("in use")))


def test_the_code_has_a_version(tmp_path):
    (tmp_path / "more.py").write_text("a = 1")
    before = code_version(tmp_path / "more.py")
    assert before == code_version(tmp_path / "more.py") and len(before) == 16
    (tmp_path / "more.py").write_text("a = 2")
    assert before != code_version(tmp_path / "more.py")


BUSY = """
import hashlib, sys
from iadgpt_jax.distributed import StopSignals
stop = StopSignals()
print("busy", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", int(sys.argv[1]))  # one call into C, as compiling is
print("asked" if stop.asked(1) else "not asked", stop.exit_status, flush=True)
stop.restore()
"""


def busy(rounds: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(rounds)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "busy\n"
    return process


def test_a_stop_is_answered_at_once_while_the_program_compiles():
    """Python hears of a signal when the call returns; whoever sent it, at once."""
    process = busy(1_500_000)
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline().startswith("SIGTERM: saving after the step under way, then stopping")
    assert process.poll() is None, "still in its call"
    output, _ = process.communicate(timeout=120)
    assert output == f"asked {128 + signal.SIGTERM}\n"


def test_a_second_signal_stops_at_once_while_the_program_compiles():
    process = busy(2_000_000_000)
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            jax.errors.JaxRuntimeError("INTERNAL: Barrier failed because: UNAVAILABLE: Task 1 heartbeat timeout. \n x"),
            "error: another process is gone (INTERNAL: Barrier failed because: UNAVAILABLE: Task 1 heartbeat timeout.",
        ),
        (
            jax.errors.JaxRuntimeError("UNAVAILABLE: Failed to send RPC to coordination service. Either the leader"),
            "error: another process is gone (UNAVAILABLE: Failed to send RPC to coordination service.",
        ),
        (jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes"), "Traceback (most recent call last):"),
        (ValueError("Task 1 heartbeat timeout"), "Traceback (most recent call last):"),
    ],
)
def test_a_lost_process_is_one_line_on_the_others_and_anything_else_a_traceback(error, line, monkeypatch, capsys):
    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(distributed, "start", lambda: None)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as ended, distributed.joined():
        raise error
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert ended.value.code == (TRY_AGAIN if line.startswith("error") else 1)
    assert (said.count("\n") == 1) == line.startswith("error")
