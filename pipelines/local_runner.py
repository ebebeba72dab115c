"""Runs the graph on this machine: one process a shard, in each a succession of bounded rounds.

Between rounds the model, connections and what was fetched ahead are kept, and what the runner hoards is let go.  The
runner is named explicitly: Beam's default falls back from one to the next without a word.  Its threading and
multi-processing modes lose what a bundle leaves over, so they are refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from kie_ops.errors import ConfigError, EngramError, InputError
from pipelines import archive_feed, graph, logs, metrics, topic_safety
from pipelines.archive_feed import ArchiveFeed
from pipelines.beam_source import finished
from pipelines.config import Config
from pipelines.feed import Feed
from pipelines.job import Job, Serving, Worker, serving
from pipelines.shard import Shard
from pipelines.storage import Storage, local_root
from pipelines.supervisor import START_PATIENCE_S, keep_memory_flat, stopped_by_signals, supervise

STANDBY_POLL_S = 0.5

Feeds = Callable[[int, int], Feed]
OpenWorker = Callable[[Config, Shard, Storage], Worker]


def run(config: Config, inputs: Sequence[str] | None = None, stop: threading.Event | None = None) -> None:
    """Reads the configured topic, or the archives and files that `inputs` name, into tables and memory.

    Ends when an input is exhausted, a topic idle for `run.until_idle_s`, or `stop` is set (also by SIGINT, SIGTERM).
    Raises the error that ended the run: never for a service that goes away while it runs, InputError for files that
    could not be read to their end, after everything else was.
    """
    from pipelines.worker import open_worker

    stop = stop or threading.Event()
    if inputs is None:
        run_feeds(config, partial(topic_safety.open_feed, config.source), open_worker, stop)
        return
    problems: list[InputError] = []
    for source in archive_feed.inputs(inputs):
        if not stop.is_set():
            try:
                run_feeds(config, partial(ArchiveFeed, source, config.source.format), open_worker, stop)
            except InputError as e:
                problems.append(e)
    _raise_first(problems)


def run_feeds(config: Config, feeds: Feeds, open_worker: OpenWorker, stop: threading.Event) -> None:
    """The same for any feed and worker; both picklable where there are several shards (:class:`pipelines.job.Job`)."""
    with stopped_by_signals(stop):
        if config.source.shards > 1:
            supervise(Job(config, feeds, open_worker), stop, serve)
            return
        if config.run.metrics_port is not None:
            metrics.serve(config.run.metrics_port)
        serve(Job(config, feeds, open_worker), 0, stop)


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
        _raise_first(here.shard.feed.problems())
    finally:
        here.close()


def _raise_first(problems: Sequence[EngramError]) -> None:
    """The others are logged."""
    for problem in problems[1:]:
        logs.get().error("input problem", error=str(problem))
    if problems:
        raise problems[0]


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
