"""TensorBoard's files of a run, written by its own encoder in a thread of clu's: no step waits for a slow disk. clu's
writer of them is TensorFlow's, with which every start of a training would take seconds and half a gigabyte more."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from iadgpt_jax.bucket_files import Mirror
from iadgpt_jax.buckets import is_bucket


class Board:
    """Writes scalars into a new event file of the folder `workdir`, which exists or is in a bucket.

    Where nothing can be written, `warn` gets one line, and the board is given up: training goes on without it.
    """

    def __init__(self, workdir: str | Path, warn: Callable[[str], None]):
        from clu import asynclib  # these only where training writes
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.event, self.scalar, self.warn = Event, scalar_pb, warn
        self.records: RecordWriter | None = None
        self.mirror, self.remote = Mirror(workdir), is_bucket(workdir)
        self.pool = asynclib.Pool("tensorboard", max_workers=1)
        seconds, rest = divmod(time.time_ns(), 10**9)  # runs that go on are files of their own, shown in this order
        name = f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}.{rest:09d}"
        with self._given_up(OSError):
            self.records = RecordWriter(open(self.mirror.folder / name, "xb"))
        self._append(time.time(), file_version="brain.Event:2")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """At once into the file, but for what the thread has not come to: `flush` waits for that."""
        summaries = [self.scalar(name, value) for name, value in values.items()]
        summary = {"value": [one for summary in summaries for one in summary.value]}
        self.pool(self._append)(time.time(), step=step, summary=summary)

    def flush(self) -> None:
        """Wait until all is written; into a bucket, too."""
        self.pool.join()
        if self.remote and self.records is not None:
            with self._given_up(Exception):  # whatever class a bucket's client raises
                self.mirror.copy()

    def close(self) -> None:
        self.flush()
        if self.records is not None:
            with self._given_up(OSError):
                self.records.close()
            self.records = None
        self.pool.close()
        with self._given_up(Exception if self.remote else OSError):
            self.mirror.close()

    def _append(self, seconds: float, **fields) -> None:
        if self.records is not None:
            with self._given_up(OSError):
                self.records.write(self.event(wall_time=seconds, **fields).SerializeToString())
                self.records.flush()

    @contextlib.contextmanager
    def _given_up(self, kind: type[Exception]):
        try:
            yield
        except kind as error:
            if self.records is not None:
                with contextlib.suppress(OSError):  # closing tries to write what is left
                    self.records.close()
                self.records = None
            line = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), type(error).__name__)
            self.warn(f"nothing more is written for TensorBoard ({line[:200]}): training goes on without it")
