"""Several processes, one program: how a process finds its peers, what it stops for, and who speaks for all.

Every host of a cluster runs the same command. `joined` finds out from the environment whether that command is one of
several and joins them: TPU pods (GCE and GKE), Slurm and Open MPI are recognised by jax.distributed itself; the local
launcher and the Kubernetes templates say it in three variables (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES,
JAX_PROCESS_ID). After that the program is the same as on one host: the mesh spans all devices, and each process reads
its own share of data and weights.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import Literal

import jax

from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.platforms import TPU_FILES

COORDINATOR, PROCESSES, PROCESS = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# Seconds. A process that sends no heartbeat for so long is dead: all others end, with a message that names it. One
# whose connections broke with it (killed, crashed) is noticed at its peers' next collective already.
HEARTBEAT = 30
MEETING = 600  # for all processes to come up: hosts of a cluster boot and pull images at their own pace
PATIENCE = 20  # after which a process says whom it waits for
PARTING = 60  # for all processes to reach the end

Cluster = Literal["named", "slurm", "mpi", "tpu"]


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """`with joined():` around a program that may be one of several processes, before it asks JAX for devices.

    A process of several that fails says why and ends at once, for its peers wait for it and must hear of it: an orderly
    end would wait for them in turn.
    """
    start()
    try:
        yield
    except SystemExit:
        raise  # all of them were asked to stop
    except BaseException:
        if not jax.distributed.is_initialized():
            raise
        try:
            with clear_errors():
                raise
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start() -> None:
    """Join the other processes, if there are any.

    Raises:
      InputError: the variables that name the processes are incomplete.
    """
    environment = dict(os.environ)
    cluster = cluster_of(environment, tpu_chips_here())
    if cluster is None:
        return
    arguments: dict = {}
    where = "the first host"
    if cluster == "named":
        where, processes, process = named_process(environment)
        if processes == 1:
            return
        arguments = dict(coordinator_address=where, num_processes=processes, process_id=process)
        arguments["cluster_detection_method"] = "deactivate"  # the variables say it all
    elif cluster == "slurm" and (gpus := gpus_of_the_one_task(environment)):
        arguments["local_device_ids"] = gpus
    line = f"waiting for the other processes at {where}, {MEETING} s at most: start all of them, with a way to it"
    patience = threading.Timer(PATIENCE, print, (line,), {"file": sys.stderr, "flush": True})
    patience.daemon = True
    patience.start()  # JAX itself waits in silence, and aborts the process when nobody came
    jax.distributed.initialize(
        **arguments,
        initialization_timeout=MEETING,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=PARTING,
    )
    patience.cancel()


def cluster_of(environment: Mapping[str, str], tpu: bool) -> Cluster | None:
    """Which kind of job this process is one of; None: it is alone. tpu: whether this host has TPU chips for JAX."""
    if any(name in environment for name in (PROCESSES, PROCESS)):
        return "named"
    if int(environment.get("SLURM_NTASKS", 1)) > 1 and {"SLURM_PROCID", "SLURM_STEP_NODELIST"} <= environment.keys():
        return "slurm"
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1 and "OMPI_MCA_orte_hnp_uri" in environment:
        return "mpi"
    platforms = environment.get("JAX_PLATFORMS", "")
    if tpu and (not platforms or "tpu" in platforms.split(",")):
        hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
        # Told to ask no metadata server and given no hosts, a process is alone.
        return "tpu" if hosts or "TPU_SKIP_MDS_QUERY" not in environment else None
    return None


def named_process(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """(address of process 0, number of processes, which one this is) as launch/local.py says them."""
    lacking = [name for name in (COORDINATOR, PROCESSES, PROCESS) if not environment.get(name)]
    if lacking:
        raise InputError(
            f"{lacking[0]} is not set, but others of its kind are: set {COORDINATOR}=HOST:PORT, {PROCESSES} and "
            f"{PROCESS}, or none of them"
        )
    try:
        processes, process = int(environment[PROCESSES]), int(environment[PROCESS])
    except ValueError as error:
        raise InputError(f"{PROCESSES} and {PROCESS} are whole numbers ({error})") from error
    if not 0 <= process < processes:
        raise InputError(f"{PROCESS}={process} is none of {PROCESSES}={processes}: count from 0")
    return environment[COORDINATOR], processes, process


def gpus_of_the_one_task(environment: Mapping[str, str]) -> list[int]:
    """All GPUs of a Slurm node that runs a single task; [] where each task has its own (JAX then takes one each)."""
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", ""))
    if not re.fullmatch(r"1(\(x\d+\))?", tasks):
        return []
    return list(range(int(environment.get("SLURM_GPUS_ON_NODE") or 0)))


def tpu_chips_here() -> bool:
    """Whether this host has TPU chips and the library to drive them."""
    return any(map(glob.glob, TPU_FILES)) and bool(importlib.util.find_spec("libtpu"))


def speaks() -> bool:
    """Whether this process is the one that logs and writes what all share."""
    return jax.process_index() == 0


def compiled_together(function, *arguments):
    """The jitted `function`, in several processes compiled for these arguments and returned once all are so far.

    Compiling takes minutes, and not equally long everywhere, while a first collective on CPUs waits half a minute for
    its slowest member.
    """
    if not jax.distributed.is_initialized():
        return function
    from orbax.checkpoint import multihost

    compiled = function.lower(*arguments).compile()
    multihost.get_barrier_sync_fn()(key="compiled", timeout_ms=1000 * MEETING)
    return compiled


class SilentLog:
    """In the place of a train.log.TrainLog where a process does not speak."""

    def step(self, *_) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a question the loop asks after each step; a second one stops at once.

    Of several processes each may get the signal at another moment, or only one of them: all stop after the same step,
    which JAX's coordination service agrees on (multihost_utils.reached_preemption_sync_point). It listens for SIGTERM
    itself, so that Ctrl-C is passed on to it as one.
    """

    def __init__(self):
        self.exit_status = 0
        self._asked, self._together = False, jax.process_count() > 1
        caught = (signal.SIGINT,) if self._together else (signal.SIGINT, signal.SIGTERM)
        self.previous = {s: signal.signal(s, self._ask) for s in caught}

    def _ask(self, number, frame):
        self._asked, self.exit_status = True, 128 + number
        signal.signal(number, self.previous[number])
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)

    def asked(self, step: int) -> bool:
        """Whether to stop after `step`. Every process must ask after each of its steps."""
        if not self._together:
            return self._asked
        from jax.experimental.multihost_utils import reached_preemption_sync_point

        if not reached_preemption_sync_point(step):
            return False
        self.exit_status = self.exit_status or 128 + signal.SIGTERM
        return True

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
