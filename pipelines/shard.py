"""Batches: contiguous ranges of one partition, cut from a feed.  Steps 1 (position) and 2 (gather) of the protocol.

A shard is as old as its process and lives outside Beam's readers, so that consumer, positions and what was fetched
ahead survive from one bundle and one round to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kie_ops.records import RawRecord
from pipelines.config import Config
from pipelines.feed import Feed
from pipelines.metrics import METRICS

if TYPE_CHECKING:
    from pipelines.commit_log import Log


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of ``[start, end)`` of one partition: all there are, as offsets may have holes.  May hold none."""

    shard: int
    stream: str
    partition: int
    start: int
    end: int
    records: tuple[RawRecord, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The clock of publishing: comes every `tables.publish_every_s`, also when nothing arrives."""

    shard: int


class Shard:
    """The partitions p with p mod K = k of one feed, each read from its log's end on.

    `idle_s` is how long the feed was waited for in vain since the last record.  Not thread safe.
    """

    def __init__(
        self, feed: Feed, open_log: Callable[[str, int], Log], config: Config, k: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed, self.config, self.k = feed, config, k
        self.logs: dict[int, Log] = {}
        self.next: dict[int, int] = {}
        self.idle_s = 0.0
        self._open_log, self._clock = open_log, clock
        self._pending: dict[int, list[RawRecord]] = {}
        self._due: dict[int, float] = {}
        self._tick_due = clock() + config.tables.publish_every_s
        self.adopt()

    def adopt(self) -> list[int]:
        """Opens the logs of partitions not known yet, and returns these partitions."""
        new = [p for p in sorted(self.feed.partitions().items()) if p[0] not in self.logs]
        for partition, stream in new:
            self.logs[partition] = self._open_log(stream, partition)
        return [partition for partition, _ in new]

    # -- step 1 -----------------------------------------------------------------------------------------------------

    def rewind(self, partition: int) -> None:
        """Sets the partition's position to its log's end; what was gathered beyond it is let go if it differs."""
        log = self.logs[partition]
        end = log.end()
        if end == 0:  # nothing committed: the log settles once where it begins
            end = log.open_at(self.feed.begin(partition))
        if self.next.get(partition) != end:
            self.next.pop(partition, None)
            self._pending[partition] = []
            self.feed.seek(partition, end)
            self.next[partition] = end

    def report(self, partition: int) -> None:
        """Tells feed and metrics how far the partition is committed."""
        log = self.logs[partition]
        if log.tail is not None:
            self.feed.report(partition, log.tail)
            METRICS.position.labels(log.chain).set(log.tail)
            METRICS.lag.labels(log.chain).set(self.feed.lag().get(partition, 0))

    # -- step 2 -----------------------------------------------------------------------------------------------------

    def gather(self, wait_s: float) -> Batch | Tick | None:
        """The next batch or tick; None after `wait_s` without either, and where the feed is exhausted."""
        until = self._clock() + wait_s
        while True:
            now = self._clock()
            if now >= self._tick_due:
                return self.tick()
            for partition in sorted(self.next, key=lambda p: self._due.get(p, 0.0)):
                batch = self._cut(partition, now)
                if batch is not None:
                    return batch
            if now >= until or self.ended():
                return None
            dues = [self._due[p] for p in self.next if self._pending[p]]
            self._poll(min([until, self._tick_due, *dues]) - now)

    def tick(self) -> Tick:
        """A tick now.  New partitions are adopted with it."""
        self._tick_due = self._clock() + self.config.tables.publish_every_s
        self.adopt()
        for partition in self.logs.keys() - self.next.keys():
            self.rewind(partition)
        return Tick(self.k)

    def ended(self) -> bool:
        """Whether everything there is was handed out."""
        return self.feed.exhausted() and not any(self._pending.values())

    def _poll(self, timeout_s: float) -> None:
        began = self._clock()
        try:
            records = self.feed.poll(max(timeout_s, 0.001))
        except BaseException:
            self.next.clear()  # what the feed had taken up is unknown: every partition is sought anew
            raise
        now = self._clock()
        self.idle_s = 0.0 if records else self.idle_s + now - began
        for record in records:
            pending = self._pending[record.place.partition]
            if not pending:
                self._due[record.place.partition] = now + self.config.batch.gather_s
            pending.append(record)

    def _cut(self, partition: int, now: float) -> Batch | None:
        """A batch from the front of what was gathered, if it is full, due, or at its segment's end."""
        pending = self._pending[partition]
        if not pending:
            return None
        start, segment = self.next[partition], self.config.tables.segment
        boundary = (start // segment + 1) * segment
        taken, filled = self._fitting(pending, boundary)
        crossing = taken < len(pending) and pending[taken].place.offset >= boundary
        if not (filled or crossing or now >= self._due[partition] or self.feed.exhausted()):
            return None
        end = boundary if crossing else pending[taken - 1].place.offset + 1
        records = tuple(pending[:taken])
        del pending[:taken]
        self.next[partition] = end
        self._due[partition] = now + self.config.batch.gather_s
        return Batch(self.k, self.logs[partition].stream, partition, start, end, records)

    def _fitting(self, pending: list[RawRecord], boundary: int) -> tuple[int, bool]:
        """How many records fit one batch, and whether it is full with them.  One too long for a batch goes alone."""
        limits = self.config.batch
        size = 0
        for taken, record in enumerate(pending):
            length = len(record.value or b"")
            if record.place.offset >= boundary:
                return taken, False
            if taken == limits.documents or (taken and size + length > limits.characters):
                return taken, True
            size += length
        return len(pending), len(pending) == limits.documents or size >= limits.characters
