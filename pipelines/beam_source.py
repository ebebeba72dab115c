"""Batches and ticks as an unbounded Beam source of K shards.

The reader blocks in the poll and gives ticks instead of "no data", so that a runner which ignores resume delays does
not spin.  A local round ends when `advance` returns False while the watermark is at its maximum: after `round_s`,
when the input is exhausted or idle for long, or when the run is stopped.  Beam's checkpoint mark holds nothing: the
commit log is the position.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from apache_beam.coders import Coder, PickleCoder
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from pipelines.job import Job, serving
from pipelines.shard import Batch, Tick

SLICE_S = 0.5
"""How long a poll may block before it is looked whether the run was stopped."""


class Mark(CheckpointMark):
    """Nothing to remember."""


class BatchReader(UnboundedReader):
    def __init__(self, source: BatchSource) -> None:
        self._source = source
        self._serving = serving(source.job, source.k or 0)
        self._current: Batch | Tick | None = None
        self._watermark = Timestamp(0)
        self._flushed = False

    def start(self) -> bool:
        self._until = time.monotonic() + self._source.round_s
        self._serving.begin()
        return self.advance()

    def advance(self) -> bool:
        while not self._over():
            self._current = self._serving.attempt(lambda: self._serving.shard.gather(SLICE_S))
            if self._current is not None:
                return True
        if not self._flushed:  # what was committed is published before the round ends
            self._flushed, self._current = True, Tick(self._serving.k)
            return True
        self._watermark = MAX_TIMESTAMP
        return False

    def _over(self) -> bool:
        return self._serving.halted or time.monotonic() >= self._until or finished(self._source.job, self._serving.k)

    def get_current(self) -> Batch | Tick | None:
        return self._current

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp.now()

    def get_watermark(self) -> Timestamp:
        return self._watermark

    def get_checkpoint_mark(self) -> Mark:
        return Mark()


class BatchSource(UnboundedSource):
    """All K shards of `job`, or shard `k` alone.  round_s: infinite for a job without end."""

    def __init__(self, job: Job, round_s: float = float("inf"), k: int | None = None) -> None:
        self.job, self.round_s, self.k = job, round_s, k

    def split(self, desired_num_splits: int, options: Any = None) -> Iterable[BatchSource]:
        """Always K: the number of shards says who owns which partition, not the runner."""
        if self.k is not None:
            return [self]
        return [BatchSource(self.job, self.round_s, k) for k in range(self.job.config.source.shards)]

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> BatchReader:
        return BatchReader(self)

    def get_checkpoint_mark_coder(self) -> Coder:
        return PickleCoder()


def finished(job: Job, k: int) -> bool:
    """Whether there is nothing more to read: an archive at its end, or a topic idle for `run.until_idle_s`."""
    shard = serving(job, k).shard
    idle_s = job.config.run.until_idle_s
    return shard.ended() or (idle_s is not None and shard.idle_s >= idle_s)
