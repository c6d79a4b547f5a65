"""Run the jobs of a plan on this machine: each in a process of its own, behind the job it starts from, once.

A job that fails is tried again, unless its input was at fault; then it has failed for good, and with it what needs it.
Everything else goes on. What is finished is known by its result alone (plan.Job.finished), so a sweep that was stopped
or killed goes on with the same command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.errors import INPUT_FAULT
from iadgpt_jax.sweep.lock import held, mark
from iadgpt_jax.sweep.plan import Job, Plan
from iadgpt_jax.sweep.times import Times
from iadgpt_jax.sweep.watch import Watch

LAST_LINES = 5  # of a failed job's log that its reason quotes
POLL = 0.1  # seconds between two looks at a running process


@dataclass
class Outcome:
    """failed: key -> why, of jobs that failed for good, and of those that need them; stopped: by a signal's number."""

    failed: dict[str, str] = field(default_factory=dict)
    stopped: int | None = None


class Runner:
    """Runs a plan's jobs, `parallel` at a time, each on its share of this machine's cores.

    interpreter: the words before a job's command. environment: variables besides this process's. attempts: how often a
    job may fail before it has failed for good.
    """

    def __init__(
        self, plan: Plan, workdir: Path, *, interpreter: Sequence[str], parallel: int = 1, attempts: int = 2,
        environment: Mapping[str, str] | None = None, watch: Watch | None = None,
    ):  # fmt: skip
        self.plan, self.interpreter, self.parallel, self.attempts = plan, tuple(interpreter), parallel, attempts
        self.environment = os.environ | dict(environment or {})
        self.watch = watch or Watch(plan, Times(workdir), parallel)
        self.times = self.watch.times
        self.outcome = Outcome()
        self._waiting = {key: job for key, job in plan.jobs.items() if not job.finished}
        self._running: dict[str, subprocess.Popen | None] = {}
        self._changed = threading.Condition()
        self._signals = 0

    def run(self) -> Outcome:
        """Until every job has finished or failed for good, or `stop` was called and all processes have ended."""
        self.watch.show(self._states())
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self.parallel)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):  # in turns, so that signals are heard
            for thread in threads:
                thread.join(POLL)
            self.watch.show(self._states())
        self.watch.close(self._states())
        return self.outcome

    def stop(self, number: int, _frame: object = None) -> None:
        """A signal's handler: passed on to all processes, which save and end; the second time they are killed."""
        with self._changed:
            self._signals += 1
            self.outcome.stopped = number
            for child in self._running.values():
                if child is not None and child.poll() is None:
                    child.send_signal(number if self._signals == 1 else signal.SIGKILL)

    # ---- What follows runs in the threads ----

    def _work(self, number: int) -> None:
        if self.parallel > 1 and hasattr(os, "sched_setaffinity"):
            # Of this thread alone; the processes it starts inherit it, and make as many threads as they may use cores.
            os.sched_setaffinity(0, cores_of(number, self.parallel, sorted(os.sched_getaffinity(0))))
        while (job := self._next()) is not None:
            why: str | None = "the sweep itself failed there"  # a bug, whose traceback Python prints
            try:
                why = self._finish(job)
            except OSError as error:  # a full disk, a folder that cannot be written
                why = str(error)
            finally:
                with self._changed:
                    del self._running[job.key]
                    if why is not None:
                        self._fail(job, why)
                    self._changed.notify_all()

    def _next(self) -> Job | None:
        """The next job that can run, taken out of those that wait; None when nothing is left to do."""
        with self._changed:
            while self._waiting and self.outcome.stopped is None:
                for key, job in self._waiting.items():
                    if job.before is None or (job.before not in self._waiting and job.before not in self._running):
                        self._running[key] = None
                        return self._waiting.pop(key)
                self._changed.wait(POLL)
            return None

    def _fail(self, job: Job, why: str) -> None:
        self.outcome.failed[job.key] = why
        self.watch.say(f"{job.key} failed for good: {why.splitlines()[-1]} ({job.log})")
        for key, one in list(self._waiting.items()):
            if key in self._waiting and one.before == job.key:
                self._fail(self._waiting.pop(key), f"{job.key}, which it starts from, failed: {why}")

    def _finish(self, job: Job) -> str | None:
        """Run the job until its result is there; why it failed for good, or None (also when stopped)."""

        def waiting(who: str) -> None:
            self.watch.say(f"{job.key}: waiting for {who}, which works on it")

        with held(job.folder, waiting, lambda: self.outcome.stopped is not None) as lock:
            if lock is None or job.finished:  # another sweep finished it meanwhile
                return None
            (job.folder / "configuration.json").write_text(job.configuration + "\n")
            for attempt in range(1, self.attempts + 1):
                began, first = time.monotonic(), max(finished_steps(job.folder), default=0)
                status = self._process(job, lock)
                if self.outcome.stopped is not None:
                    return None
                if job.finished:
                    self.times.note(job, time.monotonic() - began, job.steps - first)
                    return None
                why = reason(job.log, status)
                if status == INPUT_FAULT:
                    break
                if attempt < self.attempts:
                    self.watch.say(f"{job.key} failed ({why.splitlines()[-1]}); trying again, from where it was")
        return why

    def _process(self, job: Job, lock: int) -> int:
        """One process from start to end, its output behind what the log has; its return code."""
        with open(job.log, "ab") as log:
            if self.outcome.stopped is not None:
                return -int(self.outcome.stopped)
            child = subprocess.Popen(
                [*self.interpreter, *job.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, pass_fds=(lock,),
                start_new_session=True,  # a terminal sends Ctrl-C to the sweep alone, which passes it on
            )  # fmt: skip
            mark(lock, child.pid)
            with self._changed:
                self._running[job.key] = child
                if self.outcome.stopped is not None:  # a signal that came while it started
                    child.send_signal(self.outcome.stopped)
            return child.wait()

    def _states(self) -> tuple[list[str], list[str]]:
        with self._changed:
            return list(self._running), list(self._waiting)


def cores_of(number: int, parallel: int, cores: Sequence[int]) -> set[int]:
    """The cores of one of `parallel` workers: disjoint shares as long as there are enough."""
    return set(cores[number::parallel]) or {cores[number % len(cores)]}


def reason(log: Path, status: int) -> str:
    """Why a process failed: how it ended, then the last lines it wrote; of a faulty input, the line that says so."""
    ended = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    if status == 0:
        ended = "exit status 0, but without a result"
    with open(log, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 8192))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return "\n".join([ended, *(errors[-1:] if status == INPUT_FAULT and errors else lines[-LAST_LINES:])])
