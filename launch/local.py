"""Run several processes on one machine, each with its own fake CPU devices: for development.

    python launch/local.py --processes=2 --devices=4 -- launch/train.py --config=configs/stage3.py:tiny --workdir=DIR …

Process 0 prints as if it ran alone; lines of the others begin with their number. If a process fails, the job ends
within seconds with an error that names it; the same command goes on from the last checkpoint. Ctrl-C and SIGTERM are
passed on to all processes; a second one ends them at once.
"""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from iadgpt_jax.distributed import COORDINATOR, PROCESS, PROCESSES
from iadgpt_jax.errors import InputError, Parser, clear_errors

GRACE = 5.0  # seconds between SIGTERM and SIGKILL for the other processes when one has failed
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit statuses of processes that saved when asked to stop


@clear_errors()
def main(arguments: list[str] | None = None) -> int:
    """Run the job. Returns its exit status: 0, or that of the first process that failed."""
    flags, command = parse(sys.argv[1:] if arguments is None else arguments)
    job = Job(command, flags.processes, flags.devices)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: job.stop(number))
    return job.wait()


class Job:
    """The processes of one job. Starts them; `wait` waits for their end."""

    def __init__(self, command: list[str], processes: int, devices: int):
        self.asked = False  # to stop: whether a signal was passed on
        self.ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        address = f"localhost:{free_port()}"
        self.children = [self._start(command, process, processes, devices, address) for process in range(processes)]
        for process, child in enumerate(self.children):
            threading.Thread(target=lambda p=process, c=child: self.ended.put((p, c.wait())), daemon=True).start()

    def _start(self, command, process: int, processes: int, devices: int, address: str) -> subprocess.Popen:
        output = None if process == 0 else subprocess.PIPE
        child = subprocess.Popen(
            [sys.executable, *command],
            env=environment(process, processes, devices, address),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,  # so that the terminal sends Ctrl-C to this launcher alone, which passes it on
        )
        if output:
            threading.Thread(target=print_numbered, args=(child.stdout, process), daemon=True).start()
        return child

    def stop(self, number: int) -> None:
        """Pass a signal on to the processes that still run; the second time, kill them."""
        number = signal.SIGKILL if self.asked else number
        self.asked = True
        for child in self.children:
            if child.poll() is None:
                child.send_signal(number)

    def wait(self) -> int:
        """Wait until all processes have ended, or one has failed and the others were stopped; the exit status."""
        first = 0
        for _ in self.children:
            process, status = self.ended.get()
            if status and not self.asked and status not in STOPPED:
                return self._failed(process, status)
            first = first or exit_status(status)
        return first

    def _failed(self, process: int, status: int) -> int:
        others = [child for child in self.children if child.poll() is None]
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with exit status {status}"
        if status == -signal.SIGABRT:
            how += " (JAX aborts a process that has lost contact with another; its message above says which)"
        name = f"process {process} of {len(self.children)} (pid {self.children[process].pid})"
        print(f"error: {name} {how}; ending the {len(others)} still running. "
              "The same command goes on from the last checkpoint", file=sys.stderr, flush=True)  # fmt: skip
        for child in others:
            child.terminate()
        deadline = time.monotonic() + GRACE
        for child in others:
            try:
                child.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        return exit_status(status)


def environment(process: int, processes: int, devices: int, address: str) -> dict[str, str]:
    """The environment of one process: its number, how to find the others, and how many fake devices to make."""
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    return os.environ | {
        COORDINATOR: address,
        PROCESSES: str(processes),
        PROCESS: str(process),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}".strip(),
    }


def exit_status(status: int) -> int:
    """subprocess's return code as a shell reports it: 128 + the signal."""
    return 128 - status if status < 0 else status


def print_numbered(stream, process: int) -> None:
    """Copy a process's output to standard error, each line with its number in front."""
    for line in stream:
        sys.stderr.buffer.write(b"[%d] " % process + line)
        sys.stderr.buffer.flush()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def parse(arguments: list[str]):
    parser = Parser(description=__doc__, usage="%(prog)s --processes=N --devices=M -- SCRIPT [ARGUMENT …]")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=4, help="fake CPU devices of each process")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    flags, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    if not command:
        raise InputError("no command to run: write launch/local.py --processes=2 --devices=4 -- launch/train.py …")
    if flags.processes < 1 or flags.devices < 1:
        raise InputError(f"--processes={flags.processes} --devices={flags.devices}: both are at least 1")
    if not Path(command[0]).is_file():
        raise InputError(f"no script {command[0]}; give a Python file after --")
    return flags, command


if __name__ == "__main__":
    sys.exit(main())
