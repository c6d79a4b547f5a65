"""Who writes the shards: this machine's processes, or Apache Beam. The bytes are the same."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from iadgpt_jax.data.sources.plan import Shard
from iadgpt_jax.data.sources.shards import Job, write_shard
from iadgpt_jax.errors import InputError


def write_locally(job: Job, shards: Sequence[Shard], processes: int) -> Iterator[str]:
    """Writes the shards in so many processes (in this one if 1); yields each one's name when it is written."""
    processes = min(processes, len(shards))
    if processes <= 1:
        yield from (write_shard(job, shard) for shard in shards)
        return
    context = multiprocessing.get_context("spawn")  # fork is unsafe beside threads, which a caller may have
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with, initargs=(os.getpid(),)) as pool:
        try:
            for done in as_completed([pool.submit(write_shard, job, shard) for shard in shards]):
                yield done.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a process that wrote shards was killed, perhaps for memory; lower --processes={processes}. The same "
                "command goes on where it was"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_with_beam(job: Job, shards: Sequence[Shard], processes: int, options: Sequence[str]) -> None:
    """Writes the shards on Apache Beam: by default its local runner with so many processes.

    options: as Beam's own command line takes them, such as --runner=DataflowRunner; `job`'s folders must be reachable
    from every worker. Raises InputError where apache-beam is not installed or does not know an option.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError("--runner=beam needs Apache Beam; pip install apache-beam, or leave --runner out") from error
    local = ["--runner=DirectRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    with beam.Pipeline(options=PipelineOptions(list(options) or local)) as pipeline:
        _ = pipeline | beam.Create(list(shards)) | beam.Reshuffle() | beam.Map(partial(write_shard, job))


def _end_with(parent: int) -> None:
    """A worker whose parent was killed would wait for work for ever: it ends itself."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
