"""One process a shard, started anew when it dies, for as long as the run lasts."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

from kie_ops.errors import ConfigError, EngramError
from pipelines import logs, metrics
from pipelines.job import Job
from pipelines.progress import Progress

LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that lived so long is started anew at once; one that dies sooner, after a pause that doubles."""
STOP_S = 60.0
START_PATIENCE_S = 60.0
"""How long a service may be away when a run starts, before it ends with its error.  Later it is waited for."""
_CRASH, _PR_SET_PDEATHSIG, _M_ARENA_MAX = 70, 1, -8

Serve = Callable[[Job, int, threading.Event, float], None]
"""(job, k, stop, patience_s): serves one shard in the process it is called in."""


@dataclass
class _Child:
    process: Any
    errors: Connection
    began: float
    pause_s: float = 0.5
    due: float = 0.0
    finished: bool = False


def supervise(job: Job, stop: threading.Event, serve: Serve) -> None:
    """Has `serve` serve every shard of `job` in a process of its own until all have finished or `stop` is set.

    Raises the error of a shard that somebody has to act on; one that crashed is started anew.
    """
    if job.config.memory.url == "local":
        raise ConfigError("memory in the process is not shared between shards", where="memory.url",
                          next_step="use embedded or a Redis, or set source.shards to 1")
    keep_memory_flat()  # sets the environment that the children start with
    memory = _hold_memory(job)
    context = mp.get_context("spawn")
    children = [_start(context, job, k, serve, START_PATIENCE_S) for k in range(job.config.source.shards)]
    try:
        while not stop.is_set() and not all(child.finished for child in children):
            for k, child in enumerate(children):
                children[k] = _tend(context, job, k, serve, child)
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


def _start(context: Any, job: Job, k: int, serve: Serve, patience_s: float) -> _Child:
    here, there = context.Pipe(duplex=False)
    arguments = (job, k, serve, patience_s, there, os.getpid())
    process = context.Process(target=_serve, args=arguments, name=f"shard-{k}")
    process.start()
    there.close()
    return _Child(process, here, time.monotonic())


def _tend(context: Any, job: Job, k: int, serve: Serve, child: _Child) -> _Child:
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
    fresh = _start(context, job, k, serve, float("inf"))
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


def _serve(job: Job, k: int, serve: Serve, patience_s: float, errors: Connection, parent: int) -> None:
    """The process of one shard.  Ends with its parent, so that nothing works on unseen."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return
    logs.configure()
    stop = threading.Event()
    try:
        with stopped_by_signals(stop):
            if job.config.run.metrics_port is not None:
                metrics.serve(job.config.run.metrics_port, shard=k)
            with Progress(None, what=f"shard {k}"):
                serve(job, k, stop, patience_s)
    except EngramError as e:
        errors.send(e)
        sys.exit(e.exit_code)
    except Exception as e:
        logs.get().error("a shard's process failed", shard=k, exc_info=e)
        sys.exit(_CRASH)


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


def keep_memory_flat() -> None:
    """Two malloc arenas, and Arrow on the system's allocator: otherwise resident memory creeps up between rounds."""
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 2)
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # for processes started from here
