"""One process a shard, started anew when it dies, for as long as the run lasts."""

from __future__ import annotations

import ctypes
import multiprocessing as mp
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from kie_ops.errors import ConfigError, EngramError
from pipelines import logs
from pipelines.job import Job

LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that lived so long is started anew at once; one that dies sooner, after a pause that doubles."""
STOP_S = 60.0
_CRASH, _PR_SET_PDEATHSIG = 70, 1


@dataclass
class _Child:
    process: Any
    errors: Connection
    began: float
    pause_s: float = 0.5
    due: float = 0.0
    finished: bool = False


def supervise(job: Job, stop: threading.Event) -> None:
    """Serves every shard of `job` until all have finished or `stop` is set.

    Raises the error of a shard that somebody has to act on; one that crashed is started anew.
    """
    if job.config.memory.url == "local":
        raise ConfigError("memory in the process is not shared between shards", where="memory.url",
                          next_step="use embedded or a Redis, or set source.shards to 1")
    from pipelines.local_runner import START_PATIENCE_S, keep_memory_flat

    keep_memory_flat()  # sets the environment that the children start with
    memory = _hold_memory(job)
    context = mp.get_context("spawn")
    children = [_start(context, job, k, START_PATIENCE_S) for k in range(job.config.source.shards)]
    try:
        while not stop.is_set() and not all(child.finished for child in children):
            for k, child in enumerate(children):
                children[k] = _tend(context, job, k, child)
            stop.wait(0.1)
    finally:
        _end(children)
        del memory


def _hold_memory(job: Job) -> Any:
    """An embedded memory lives as long as the process that starts it: that is this one, not a shard's."""
    if job.config.memory.url != "embedded":
        return None
    from pipelines.session import open_store

    return open_store(job.config)


def _start(context: Any, job: Job, k: int, patience_s: float) -> _Child:
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(job, k, patience_s, there, os.getpid()), name=f"shard-{k}")
    process.start()
    there.close()
    return _Child(process, here, time.monotonic())


def _tend(context: Any, job: Job, k: int, child: _Child) -> _Child:
    """Looks after one process: an error somebody must act on is raised, a crash is mended."""
    if child.finished or child.process.is_alive():
        return child
    now = time.monotonic()
    if child.due == 0.0:
        child.process.join()
        error = _last_error(child)
        if error is not None:
            raise error
        child.finished = child.process.exitcode == 0
        if child.finished:
            return child
        if now - child.began > STEADY_S:
            child.pause_s = 0.5
        child.due = now + child.pause_s
        logs.get().warning("a shard's process died: starting it anew", shard=k, status=child.process.exitcode,
                           pause_s=child.pause_s)
    if now < child.due:
        return child
    fresh = _start(context, job, k, float("inf"))
    fresh.pause_s = min(2 * child.pause_s, LONGEST_PAUSE_S)
    return fresh


def _last_error(child: _Child) -> EngramError | None:
    try:
        return child.errors.recv() if child.errors.poll() else None
    except EOFError:
        return None


def _end(children: list[_Child]) -> None:
    for child in children:
        if child.process.is_alive():
            child.process.terminate()
    deadline = time.monotonic() + STOP_S
    for child in children:
        child.process.join(max(0.0, deadline - time.monotonic()))
        if child.process.is_alive():
            child.process.kill()
            child.process.join()
        child.errors.close()


def _serve(job: Job, k: int, patience_s: float, errors: Connection, parent: int) -> None:
    """The process of one shard.  Ends with its parent, so that nothing works on unseen."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return
    logs.configure()
    from pipelines.local_runner import serve, stopped_by_signals
    from pipelines.metrics import serve as serve_metrics

    stop = threading.Event()
    try:
        with stopped_by_signals(stop):
            if job.config.run.metrics_port is not None:
                serve_metrics(job.config.run.metrics_port, shard=k)
            serve(job, k, stop, patience_s)
    except EngramError as e:
        errors.send(e)
        sys.exit(e.exit_code)
    except Exception as e:
        logs.get().error("a shard's process failed", shard=k, exc_info=e)
        sys.exit(_CRASH)
