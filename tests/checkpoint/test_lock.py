"""A folder has one process that works in it; what a crash leaves is taken over with a word, what lives never is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from iadgpt_jax.checkpoint import lock as locks
from iadgpt_jax.checkpoint.lock import FILE, Lock, locked, read
from iadgpt_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from iadgpt_jax.checkpoint.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The same rules in a fraction of the time."""
    for name, seconds in {"BEAT": 0.05, "STALE": 0.6, "SETTLED": 0.1, "WATCH": 0.02}.items():
        monkeypatch.setattr(locks, name, seconds)


def holder(folder) -> subprocess.Popen:
    """Another process that holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_told_who_the_first_is(tmp_path):
    process = holder(tmp_path)
    try:
        with pytest.raises(InputError, match=rf"{tmp_path} is in use by process {process.pid} on .*choose another"):
            Lock(tmp_path).take()
        assert read(tmp_path / FILE)["process"] == process.pid, "refusing changes nothing"
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_process_leaves_is_taken_over_with_a_word(tmp_path):
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / FILE).exists()
    said: list[str] = []
    with locked(tmp_path, said.append) as lock:
        lock.check()
        assert len(said) == 1 and f"left by process {process.pid}" in said[0] and "taken over" in said[0]
    assert list(tmp_path.iterdir()) == []


def elsewhere(folder, **changes) -> dict:
    """A lock that a process of another host holds, or held."""
    Lock(folder).take()
    path = folder / FILE
    held = read(path) | {"host": "far-away", "token": "theirs"} | changes
    path.write_text(json.dumps(held))
    return held


def test_a_process_that_ended_is_gone_though_another_has_its_number(tmp_path):
    elsewhere(tmp_path, host=read_host(), started="1")
    said: list[str] = []
    with locked(tmp_path, said.append):
        assert "taken over" in said[0]


def read_host() -> str:
    return locks._this_process()["host"]


def test_a_lock_of_another_host_is_refused_as_soon_as_it_beats(tmp_path):
    elsewhere(tmp_path)
    end = threading.Event()

    def beat():
        while not end.wait(0.05):
            os.utime(tmp_path / FILE)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(InputError, match="in use by process .* on far-away"):
            Lock(tmp_path, lambda line: None).take()
    finally:
        end.set()
        beating.join()


def test_a_lock_of_another_host_that_stopped_beating_is_taken_over(tmp_path):
    """Whether it stopped just now, which has to be waited for, or long ago; whatever the hosts' clocks say."""
    elsewhere(tmp_path)
    said: list[str] = []
    with locked(tmp_path, said.append):
        assert "waiting up to" in said[0] and "taken over" in said[1]
    elsewhere(tmp_path)
    long_ago = time.time() - 3600
    os.utime(tmp_path / FILE, (long_ago, long_ago))
    said.clear()
    with locked(tmp_path, said.append):
        assert len(said) == 1 and "far-away" in said[0] and "taken over" in said[0]


def test_a_damaged_lock_is_no_obstacle(tmp_path):
    (tmp_path / FILE).write_text('{"host": "h')
    with locked(tmp_path, lambda line: None) as lock:
        lock.check()


def test_of_many_that_take_over_at_once_one_does(tmp_path):
    elsewhere(tmp_path, host=read_host(), process=2**22 + 1, started="1")
    got: list[Lock] = []

    def attempt():
        lock = Lock(tmp_path, lambda line: None)
        try:
            lock.take()
            got.append(lock)
        except InputError:
            pass

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lock,) = got
    lock.check()
    lock.release()


def test_whoever_lost_his_lock_notices_before_he_writes(tmp_path):
    said: list[str] = []
    with locked(tmp_path, said.append) as lock:
        (tmp_path / FILE).write_text(json.dumps(lock.mine | {"token": "theirs", "host": "far-away"}))
        with pytest.raises(InputError, match="taken over by process .* on far-away"):
            lock.check()
    assert read(tmp_path / FILE)["token"] == "theirs", "which is not his to remove"


def test_a_folder_that_takes_no_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another folder"), locked(tmp_path / "file"):
        pass
