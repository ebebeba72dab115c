"""Runs the graph on this machine: one process a shard, in each a succession of bounded rounds.

Between rounds the model, connections and what was fetched ahead are kept, and what the runner hoards is let go.  The
runner is named explicitly: Beam's default falls back from one to the next without a word.  Its threading and
multi-processing modes lose what a bundle leaves over, so they are refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from kie_ops.errors import ConfigError, EngramError
from pipelines import graph, logs
from pipelines.beam_source import finished
from pipelines.config import Config
from pipelines.feed import Feed
from pipelines.job import Job, Serving, Worker, serving
from pipelines.shard import Shard
from pipelines.storage import Storage, local_root

START_PATIENCE_S = 60.0
"""How long a service may be away when a run starts, before it ends with its error.  Later it is waited for."""
STANDBY_POLL_S = 0.5
_M_ARENA_MAX = -8

Feeds = Callable[[int, int], Feed]
OpenWorker = Callable[[Config, Shard, Storage], Worker]


def run(config: Config, feeds: Feeds, open_worker: OpenWorker, stop: threading.Event | None = None) -> None:
    """Reads `feeds` until it is exhausted, idle for `run.until_idle_s`, or `stop` is set (also by SIGINT, SIGTERM).

    feeds, open_worker: see :class:`pipelines.job.Job`; picklable where there are several shards.  Raises the error
    that ended the run: never for a service that goes away while it runs, InputError for files that could not be read.
    """
    stop = stop or threading.Event()
    with stopped_by_signals(stop):
        if config.source.shards == 1:
            serve(Job(config, feeds, open_worker), 0, stop)
            return
        from pipelines.supervisor import supervise

        supervise(Job(config, feeds, open_worker), stop)


def serve(job: Job, k: int, stop: threading.Event, patience_s: float = START_PATIENCE_S) -> None:
    """Serves one shard in this process to its end.  `patience_s`: for services that are away at the start."""
    keep_memory_flat()
    options = pipeline_options(job.config)
    here = _open(job, k, stop, patience_s)
    if here is None:
        return
    try:
        with _standby(here):
            while not here.halted and not finished(job, k):
                _round(job, k, options)
        if here.failure is not None:
            raise here.failure
        problems = here.shard.feed.problems()
        if problems:
            for problem in problems[1:]:
                logs.get().error("input problem", error=str(problem))
            raise problems[0]
    finally:
        here.close()


def _open(job: Job, k: int, stop: threading.Event, patience_s: float) -> Serving | None:
    deadline = time.monotonic() + patience_s
    pause_s = 0.5
    while not stop.is_set():
        try:
            here = serving(job, k)
        except EngramError as e:
            if not e.retriable or time.monotonic() + pause_s > deadline:
                raise
            left_s = deadline - time.monotonic()
            logs.get().warning("a service is away: trying again", error=str(e), left_s=left_s if left_s < 1e6 else None)
            stop.wait(pause_s)
            pause_s = min(2 * pause_s, 8.0)
        else:
            here.stop, here.contain = stop, True
            return here
    return None


def _round(job: Job, k: int, options: PipelineOptions) -> None:
    """One bundle: the runner's, from the reader's start to its end."""
    round_s = job.config.run.round_s
    pipeline = graph.build(job, FnApiRunner(), options, round_s=round_s, bundle_s=2 * round_s + 60, k=k)
    pipeline.run().wait_until_finish()


def pipeline_options(config: Config) -> PipelineOptions:
    """Raises ConfigError for modes of the local runner that lose documents."""
    mode = config.run.options.get("direct_running_mode", "in_memory")
    workers = config.run.options.get("direct_num_workers", 1)
    for name, value, safe in (("direct_running_mode", mode, "in_memory"), ("direct_num_workers", workers, 1)):
        if value != safe:
            raise ConfigError(f"{name} = {value} is refused: the local runner then loses what a bundle leaves over",
                              where=f"run.options.{name}", next_step="delete this line and raise source.shards")
    return PipelineOptions(flags=[], **config.run.options)


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a second SIGINT interrupts at once, which loses nothing but time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _standby(here: Serving) -> Iterator[None]:
    """Holds the shard's advisory lock; while another worker on this machine has it, waits as a hot standby.

    On object stores there is none: two workers only waste each other's work, as commits are exclusive anyway.
    """
    root = local_root(here.storage)
    if root is None:
        yield
        return
    streams = " ".join(sorted(set(here.shard.feed.partitions().values())))
    name = hashlib.sha256(f"{streams} {here.k} {here.job.config.source.shards}".encode()).hexdigest()[:16]
    folder = root / "_locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"shard-{here.k}-{name}.lock").open("a") as lock:
        waiting = False
        while not here.stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not waiting:
                    logs.get().info("another worker serves this shard: standing by", shard=here.k)
                waiting = True
                here.stop.wait(STANDBY_POLL_S)
        if waiting:
            logs.get().info("taking over", shard=here.k)
        yield


def keep_memory_flat() -> None:
    """Two malloc arenas, and Arrow on the system's allocator: otherwise resident memory creeps up between rounds."""
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 2)
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # for processes started from here
