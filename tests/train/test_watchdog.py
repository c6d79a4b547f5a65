"""A job whose steps have stopped coming ends by name, with every thread's stack and a status of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from iadgpt_jax.errors import TRY_AGAIN
from iadgpt_jax.train import watchdog
from iadgpt_jax.train.watchdog import AUTOMATIC, LEAST, SLOW, TIMES, Watchdog


def in_a_process(body: str) -> subprocess.CompletedProcess:
    """`body`, with a watchdog `dog` that has seen step 7 and allows 1.2 seconds for the next."""
    before = (
        "import ctypes, multiprocessing, os, sys, threading, time\n"
        "from iadgpt_jax.train import watchdog\n"
        "from iadgpt_jax.train.watchdog import Watchdog\n"
        "dog = Watchdog(0.02, '/runs/a', process=1, processes=4); dog.start(6); dog.done(7)\n"
    )
    return subprocess.run([sys.executable, "-c", before + body], capture_output=True, text=True, timeout=60)


def test_a_read_that_never_returns_ends_the_process_with_stacks_and_one_line():
    """The main thread waits for a loader's thread, which reads a pipe that nobody writes to."""
    ended = in_a_process(
        "def read_record(): os.read(os.pipe()[0], 1)\n"
        "loader = threading.Thread(target=read_record, daemon=True); loader.start()\n"
        "dog.doing('waiting for a batch'); loader.join()\n"
    )
    assert ended.returncode == TRY_AGAIN
    assert "in read_record" in ended.stderr and "in join" in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("error: process 1 of 4 on ") and "has not done a step for 1 s" in line
    assert "after step 7 of /runs/a, while waiting for a batch" in line and "start the same command again" in line


def test_loaders_in_processes_of_their_own_do_not_live_on():
    ended = in_a_process(
        "loader = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,)); loader.start()\n"
        "print(loader.pid, flush=True); loader.join()\n"
    )
    assert ended.returncode == TRY_AGAIN  # and its output has ended: nobody holds it open
    status = subprocess.run(["ps", "-o", "stat=", "-p", ended.stdout.strip()], capture_output=True, text=True).stdout
    assert not status.strip() or status.startswith("Z")


def test_a_library_that_holds_pythons_lock_is_ended_too():
    """`PyDLL` keeps the lock while C sleeps."""
    ended = in_a_process("watchdog.HELD = 0.5; time.sleep(0.7); ctypes.PyDLL(None).sleep(30)\n")
    assert ended.returncode == 1 and "Timeout" in ended.stderr and "<module>" in ended.stderr


@pytest.fixture
def ended(monkeypatch) -> threading.Event:
    happened = threading.Event()
    monkeypatch.setattr(watchdog, "_end_process", lambda line: happened.set())
    return happened


def test_steps_that_come_and_slow_work_do_not_end_it(ended):
    dog = Watchdog(0.3 / 60, "/runs/a")
    dog.start(0)
    with dog.slowly("compiling"):
        time.sleep(0.5)
    for step in range(1, 6):
        time.sleep(0.1)
        dog.done(step)
    dog.close()
    assert not ended.is_set()
    dog = Watchdog(0.3 / 60, "/runs/a")
    dog.start(0)
    dog.done(1)
    assert ended.wait(10)
    dog.close()


def test_the_limit_follows_the_time_of_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dog = Watchdog(AUTOMATIC, "/runs/a")
    assert dog.limit == SLOW  # nothing is known yet, and the first step compiles
    for step, seconds in enumerate([400.0, 1.0, 1.0, 1.0], 1):
        now[0] += seconds
        dog.done(step)
    assert dog.limit == LEAST
    for step in range(5, 15):
        now[0] += 60
        dog.done(step)
    assert dog.limit == TIMES * 60
    assert Watchdog(0.0, "/runs/a")._thread is None
