"""Several processes, one program: how a process joins the others, how all agree, how all stop together, and which one
logs.

Every host of a cluster runs the same command. `joined` finds out from the environment whether that command is one of
several, and joins the others: jax.distributed itself recognises TPU pods (GCE and GKE), Slurm and Open MPI; the local
launcher and the Kubernetes templates set three variables (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID).
After that the program is the same as on one host: the mesh spans all devices, and each process loads its own share of
the data and its own shards of the weights.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from iadgpt_jax.errors import TRY_AGAIN, InputError, clear_errors
from iadgpt_jax.platforms import TPU_FILES

COORDINATOR, PROCESSES, PROCESS = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# Seconds. A process without a heartbeat for this long counts as dead: all others end with a message that names it. A
# process that was killed or crashed closes its connections, so the others notice at their next collective already.
HEARTBEAT_TIMEOUT = 30
START_TIMEOUT = 600  # for all processes to start: hosts of a cluster boot and pull images at different speeds
START_NOTICE = 20  # after this long a process says what it is waiting for
LONGEST_WAIT = 24 * 3600  # for the others where shares of work differ
SHUTDOWN_TIMEOUT = 60  # for all processes to reach the end
# Of the errors with which JAX's coordination service tells the others that a process, or the one it runs in, is gone.
LOST = ("heartbeat timeout", "Failed to send RPC to coordination service")

Cluster = Literal["variables", "slurm", "mpi", "tpu"]


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """`with joined():` around a program that may be one of several processes, before it asks JAX for devices.

    When one of several processes fails, it prints the error and exits at once. JAX's orderly shutdown would wait for
    the other processes, while they wait for this one in a collective.
    """
    start()
    try:
        yield
    except SystemExit:
        raise  # all processes were asked to stop
    except BaseException:
        if not jax.distributed.is_initialized():
            raise
        try:
            with clear_errors():
                raise
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            if what := lost(error):
                print(f"error: {what}", file=sys.stderr)
                status = TRY_AGAIN
            else:
                traceback.print_exc()
                status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def lost(error: BaseException) -> str | None:
    """The line for an error that says that another process is gone; None: it says something else."""
    text = " ".join(str(error).split())
    if not isinstance(error, jax.errors.JaxRuntimeError) or not any(words in text for words in LOST):
        return None
    return (
        f"another process is gone ({text[:160]} …): its own log says why; start the same command again on every host, "
        "which goes on from what is there"
    )


def start() -> None:
    """Join the other processes, if there are any.

    Raises:
      InputError: only some of the three variables are set, or their values make no sense.
    """
    environment = dict(os.environ)
    cluster = cluster_of(environment, has_tpu_chips())
    if cluster is None:
        return
    arguments: dict = {}
    where = "the first host"
    if cluster == "variables":
        where, processes, process = process_from_variables(environment)
        if processes == 1:
            return
        arguments = dict(coordinator_address=where, num_processes=processes, process_id=process)
        arguments["cluster_detection_method"] = "deactivate"  # nothing is left to detect
    elif cluster == "slurm" and (gpus := gpus_of_single_task(environment)):
        arguments["local_device_ids"] = gpus
    line = (
        f"waiting up to {START_TIMEOUT} s for the other processes at {where}: start all of them, and make sure that "
        "they can reach it"
    )
    notice = threading.Timer(START_NOTICE, print, (line,), {"file": sys.stderr, "flush": True})
    notice.daemon = True
    notice.start()  # JAX itself waits without a word, and aborts the process when its time is up
    jax.distributed.initialize(
        **arguments,
        initialization_timeout=START_TIMEOUT,
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
    )
    notice.cancel()


def cluster_of(environment: Mapping[str, str], tpu: bool) -> Cluster | None:
    """How this process is started together with others; None: it is alone. tpu: whether JAX can use TPU chips here."""
    if any(name in environment for name in (PROCESSES, PROCESS)):
        return "variables"
    if int(environment.get("SLURM_NTASKS", 1)) > 1 and {"SLURM_PROCID", "SLURM_STEP_NODELIST"} <= environment.keys():
        return "slurm"
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1 and "OMPI_MCA_orte_hnp_uri" in environment:
        return "mpi"
    platforms = environment.get("JAX_PLATFORMS", "")
    if tpu and (not platforms or "tpu" in platforms.split(",")):
        hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
        # A process that knows no hosts and must not ask the metadata server for them is alone.
        return "tpu" if hosts or "TPU_SKIP_MDS_QUERY" not in environment else None
    return None


def process_from_variables(environment: Mapping[str, str]) -> tuple[str, int, int]:
    """(address of process 0, number of processes, number of this one) from the three variables.

    Raises:
      InputError: a variable is missing, no whole number, or out of range.
    """
    missing = [name for name in (COORDINATOR, PROCESSES, PROCESS) if not environment.get(name)]
    if missing:
        raise InputError(
            f"{missing[0]} is not set, although others of the three are: set {COORDINATOR}=HOST:PORT, {PROCESSES} and "
            f"{PROCESS}, or none of them"
        )
    try:
        processes, process = int(environment[PROCESSES]), int(environment[PROCESS])
    except ValueError as error:
        raise InputError(f"{PROCESSES} and {PROCESS} must be whole numbers ({error})") from error
    if not 0 <= process < processes:
        raise InputError(f"{PROCESS}={process} is not below {PROCESSES}={processes}: processes are counted from 0")
    return environment[COORDINATOR], processes, process


def gpus_of_single_task(environment: Mapping[str, str]) -> list[int]:
    """All GPUs of a Slurm node that runs a single task; [] where a node runs several (JAX then gives each its own)."""
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE", ""))
    if not re.fullmatch(r"1(\(x\d+\))?", tasks):
        return []
    return list(range(int(environment.get("SLURM_GPUS_ON_NODE") or 0)))


def has_tpu_chips() -> bool:
    """Whether this host has TPU chips and libtpu, which drives them."""
    return any(map(glob.glob, TPU_FILES)) and bool(importlib.util.find_spec("libtpu"))


def is_main_process() -> bool:
    """Whether this is process 0, the one that logs and writes the files all processes share."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Return once every process has come here, each time with another `what`. It may take a day: a process that dies is
    noticed by its heartbeat, not by waiting."""
    if not jax.distributed.is_initialized():
        return
    from orbax.checkpoint import multihost

    multihost.get_barrier_sync_fn()(key=what, timeout_ms=1000 * LONGEST_WAIT)


def decided(decide: Callable[[], Any]) -> Any:
    """What process 0 decides, on every process: so none acts on what it alone sees. It must be JSON's.

    Raises:
      InputError: on every process, where `decide` raises it on process 0.
    """
    if not jax.distributed.is_initialized():
        return decide()
    told = {}
    if is_main_process():
        try:
            told = {"value": decide()}
        except InputError as error:
            told = {"error": str(error)}
    told = gathered(told)[0]
    if "error" in told:
        raise InputError(told["error"])
    return told["value"]


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Every process calls it with what must be the same on all (JSON values by name).

    Raises:
      InputError: on every process, the same line, where one has something else than process 0.
    """
    if not jax.distributed.is_initialized():
        return
    everyone = gathered({"host": socket.gethostname(), "facts": facts})
    first = everyone[0]["facts"]
    told = []
    for process, one in enumerate(everyone):
        theirs = one["facts"]
        other = [key for key in dict.fromkeys([*first, *theirs]) if first.get(key) != theirs.get(key)]
        if other:
            values = ", ".join(f"{key} {theirs.get(key)!s:.40} (there {first.get(key)!s:.40})" for key in other[:3])
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            told.append(f"process {process} on {one['host']} has {values}{more}")
    if told:
        others = f"; so have {len(told) - 1} others" if len(told) > 1 else ""
        raise InputError(
            f"processes disagree with process 0 on {everyone[0]['host']}: {told[0]}{others}; start the same command "
            "with the same code and the same shared folders on every host"
        )


_rounds = itertools.count()


def gathered(value: Any) -> list:
    """The JSON value of every process, by its number, on every process; each waits for the slowest."""
    from jax.experimental.multihost_utils import process_allgather
    from orbax.checkpoint import multihost

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    multihost.get_barrier_sync_fn()(key=f"gathered{next(_rounds)}", timeout_ms=1000 * START_TIMEOUT)
    sizes = np.asarray(process_allgather(np.int32(len(data)))).reshape(-1)
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(process_allgather(padded)).reshape(len(sizes), -1)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def code_version(*more: Path) -> str:
    """A digest of this package's source, of the files `more`, and of the libraries whose version changes results."""
    package = Path(__file__).parent
    found = hashlib.sha256()
    for path in [*sorted(package.rglob("*.py")), *more]:
        found.update(f"{path.relative_to(package) if path.is_relative_to(package) else path.name}\0".encode())
        found.update(path.read_bytes())
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy"):
        found.update(f"{name} {metadata.version(name)}\0".encode())
    return found.hexdigest()[:16]


def compiled_together(function, *arguments):
    """The jitted `function`. With several processes: compiled for these arguments, and returned once all have done so.

    Compiling takes minutes, and differs between processes, while a first collective on CPUs waits only half a minute
    for the slowest process.
    """
    if not jax.distributed.is_initialized():
        return function
    from orbax.checkpoint import multihost

    compiled = function.lower(*arguments).compile()
    multihost.get_barrier_sync_fn()(key="compiled", timeout_ms=1000 * START_TIMEOUT)
    return compiled


class StopSignals:
    """Catches the first Ctrl-C or SIGTERM, so that the loop can ask after each step whether to stop. A second one stops
    at once. Both are answered at once by a thread: Python itself hears of a signal only when a call into XLA returns,
    which takes minutes where it compiles.

    Several processes may get the signal at different moments, or only one of them gets it. All stop after the same
    step, on which JAX's coordination service agrees (multihost_utils.reached_preemption_sync_point). The service
    listens for SIGTERM itself; Ctrl-C is passed on to it as a SIGTERM.
    """

    def __init__(self):
        self.exit_status = 0
        self._asked, self._together = False, jax.process_count() > 1
        self._numbers, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
        self._before = signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        caught = (signal.SIGINT,) if self._together else (signal.SIGINT, signal.SIGTERM)
        self.previous = {s: signal.signal(s, self._ask) for s in caught}
        threading.Thread(target=self._answer, name="stop signals", daemon=True).start()

    def _ask(self, number, frame):
        self._asked, self.exit_status = True, 128 + number
        signal.signal(number, self.previous[number])
        if self._together:
            os.kill(os.getpid(), signal.SIGTERM)

    def _answer(self) -> None:
        """Reads the numbers of signals, which the kernel's handler writes whatever the program does."""
        told = False
        while number := os.read(self._numbers, 1)[:1]:
            if number[0] not in self.previous:
                continue
            if told and not self._asked:  # the first has not reached Python yet
                os._exit(128 + number[0])
            name, told = signal.Signals(number[0]).name, True
            line = f"{name}: saving after the step under way, then stopping; a second one stops at once"
            print(line, file=sys.stderr, flush=True)
        os.close(self._numbers)

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
        signal.set_wakeup_fd(self._before)
        os.close(self._wakes)  # which ends the thread
        for number, handler in self.previous.items():
            signal.signal(number, handler)
