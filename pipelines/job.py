"""What one run needs in every process that serves it, and who serves it there.

A :class:`Job` is pickled into the Beam graph; :func:`serving` gives the one :class:`Serving` a process and shard: feed,
batches and worker, opened once and kept for bundles and rounds to come.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from kie_ops.errors import EngramError
from pipelines import logs
from pipelines.commit_log import Log
from pipelines.config import Config
from pipelines.feed import Feed
from pipelines.parsed import Parsed
from pipelines.session import open_tables
from pipelines.shard import Shard
from pipelines.storage import Storage

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
T = TypeVar("T")


class Worker(Protocol):
    """Steps 1 and 3 to 7 (pipelines.worker)."""

    def own(self) -> None: ...
    def process(self, parsed: Parsed) -> None: ...
    def publish(self) -> None: ...


@dataclass(frozen=True)
class Job:
    """Picklable.  `feeds(k, K)` opens the feed of shard k of K; `open_worker` the worker on it."""

    config: Config
    feeds: Callable[[int, int], Feed]
    open_worker: Callable[[Config, Shard, Storage], Worker]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class Serving:
    """One shard of one job in this process.

    stop: where it is set, work ends after the batch at hand.  contain: errors are kept in `failure` and end the round
    instead of going through the runner, which would bury them (local runs).
    """

    def __init__(self, job: Job, k: int) -> None:
        self.job, self.k = job, k
        self.stop = threading.Event()
        self.contain = False
        self.failure: BaseException | None = None
        self.storage = storage = open_tables(job.config)
        feed = job.feeds(k, job.config.source.shards)
        try:
            self.shard = Shard(feed, lambda stream, partition: Log(storage, stream, partition), job.config, k)
            self.worker = job.open_worker(job.config, self.shard, storage)
        except BaseException:
            feed.close()
            raise
        self._owned = False

    @property
    def halted(self) -> bool:
        return self.stop.is_set() or self.failure is not None

    def begin(self) -> None:
        """Step 1, once: later a lost race for a commit leads back to it."""
        if not self._owned:
            self._owned = self.attempt(self._own, again=True) is True

    def attempt(self, step: Callable[[], T], *, again: bool = False) -> T | None:
        """Runs `step`.  While a service is away it waits, then goes back to step 1: batches are gathered anew from
        the log's end, and `step` is run again where it is asked for.  None where nothing came of it.
        """
        if self.failure is not None:
            return None
        try:
            for pause_s in _pauses():
                try:
                    return step()
                except EngramError as e:
                    if not e.retriable:
                        raise
                    if self.stop.is_set() or not self._recover(e, pause_s):
                        return None
                    if not again:
                        return None
        except BaseException as e:
            self.failure = e
            if not self.contain:
                raise
        return None

    def _own(self) -> bool:
        self.worker.own()
        return True

    def _recover(self, error: EngramError, pause_s: float) -> bool:
        """Waits until step 1 succeeds; False where the run is stopped meanwhile."""
        began = time.monotonic()
        logs.get().warning("a service is away: waiting, nothing is lost", error=str(error), shard=self.k)
        for wait_s in _pauses(pause_s):
            if self.stop.wait(wait_s):
                return False
            try:
                self.worker.own()
            except EngramError as e:
                if not e.retriable:
                    raise
                logs.get().warning("still waiting", error=str(e), seconds=round(time.monotonic() - began))
            else:
                logs.get().info("the service is back", seconds=round(time.monotonic() - began, 1), shard=self.k)
                return True
        return False

    def close(self) -> None:
        _servings.pop((self.job.id, self.k), None)
        self.shard.feed.close()


def _pauses(least_s: float = 0.0) -> Iterator[float]:
    yield from (pause for pause in PAUSES_S if pause >= least_s)
    while True:
        yield PAUSES_S[-1]


_servings: dict[tuple[str, int], Serving] = {}
_lock = threading.Lock()


def serving(job: Job, k: int) -> Serving:
    """The one serving of shard `k` in this process; opened at the first call.  Raises what opening it raises."""
    with _lock:
        if (job.id, k) not in _servings:
            _servings[job.id, k] = Serving(job, k)
        return _servings[job.id, k]
