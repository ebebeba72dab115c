"""Steps 6 and 7: the tables of a partition, written from the log; then its log files trimmed.

    6 publish  the open segment whole up to the log's end, and every closed one once for good
    7 trim     a closed segment: its memory_log, all its files read back and compared, FLOOR moved, log files deleted

A chain whose transactions also hold what no table has (the ledger's operations, tombstones) is never trimmed.

Everything of one partition happens under its lock; on an object store, where a lock holds nobody up, each file is
replaced only as it stood before the log was read (pipelines.segments.Publication).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from kie_ops.errors import LogError
from kie_ops.schemas import TABLES
from pipelines import segments
from pipelines.commit_log import Log, Marks, segment_size, settle_segment_size
from pipelines.segments import Contended, Manifest, Segment
from pipelines.storage import Storage
from pipelines.tombstones import Tombstones, lock_path


@dataclass(frozen=True)
class Published:
    """What one call did: `position` is how far the tables go, `documents` how many are new in them, `closed` how
    many segments are done with.  `contended`: another process was in the way; the next tick tries again."""

    position: int
    documents: int = 0
    closed: int = 0
    contended: bool = False


@dataclass(frozen=True)
class _Seen:
    """How far an open segment was published, and what that rested on."""

    position: int
    erased: int
    marks: Marks | None


class Publisher:
    """Publishes any number of partitions; as old as the process.  Not thread safe."""

    def __init__(self, storage: Storage, segment_size: int, trim: bool = True) -> None:
        self._storage, self._trim = storage, trim
        self._size = settle_segment_size(storage, segment_size)
        self._tombstones = Tombstones.load(storage)
        self._open: dict[str, _Seen] = {}

    def publish(self, log: Log) -> Published:
        """Brings the partition's tables up to the log's end.  Raises LogError, ServiceError."""
        if self._idle(log):
            return Published(self._open[log.chain].position)
        with self._storage.lock(lock_path(log)):
            marks = log.marks()
            if marks is None:
                return Published(0)
            if marks.floor < marks.published and self._trims(log, marks.floor):
                log.trim(marks.published)           # a crash came before, or trimming was switched on
            elif log.chain not in self._open:
                log.sweep()                         # a crash came between moving the floor and deleting
            return self._publish_from(log, marks)

    def _publish_from(self, log: Log, marks: Marks) -> Published:
        position, documents, closed = marks.published, 0, 0
        while True:
            segment = Segment.containing(log, position, self._size)
            try:
                outcome = segments.publish(self._storage, log, segment, position, self._tombstones.hide)
            except Contended:
                return Published(position, documents, closed, contended=True)
            if outcome is None:
                marks = log.marks() or marks
                if marks.published <= position:
                    break
                position = marks.published          # somebody else closed it meanwhile
                continue
            first, position = position, outcome.manifest.to
            documents += outcome.documents
            if position < segment.end:
                break
            if not self._close(log, first, outcome.manifest):
                return Published(position, documents, closed, contended=True)
            closed += 1
        self._open[log.chain] = _Seen(position, self._tombstones.position, log.marks())
        return Published(position, documents, closed)

    def _close(self, log: Log, first: int, manifest: Manifest) -> bool:
        """Step 7.  False: a file is not as it was written, so the log stays until the segment is written again."""
        if not segments.intact(self._storage, manifest):
            return False
        if self._trims(log, first):
            log.trim(manifest.to)
        else:
            log.advance(manifest.to)
        return True

    def _idle(self, log: Log) -> bool:
        """Whether nothing was committed, closed or erased since the last call: three look-ups, and no lock."""
        seen = self._open.get(log.chain)
        return (seen is not None and seen.erased == self._tombstones.refresh() and seen.marks == log.marks()
                and not log.holds(seen.position))

    def _trims(self, log: Log, start: int) -> bool:
        """Whether the tables hold all that the transaction at `start` does, so that its file can go."""
        if not self._trim:
            return False
        try:
            return log.read(start).tables.keys() <= TABLES.keys()
        except FileNotFoundError:                   # somebody else is trimming it
            return True


def kept_increments(log: Log, start: int, end: int) -> Iterator[tuple[int, int, pa.Table]]:
    """memory_log rows of ``[start, end)`` from trimmed segments: (start, end, rows in order of offset) of each.

    The ranges are contiguous.  Call it for positions between the log's `begin` and its `floor` only.  Raises LogError
    where a segment's file is missing.
    """
    size = segment_size(log.storage)
    while size is not None and start < end:
        segment = Segment.containing(log, start, size)
        stop, path = min(segment.end, end), segment.path("memory_log")
        try:
            table = segments.from_parquet(log.storage.read(path), "memory_log")
        except (FileNotFoundError, pa.ArrowInvalid) as e:
            raise LogError("contributions of a trimmed segment are missing or torn", where=path,
                           next_step="restore this file from a copy: memory cannot be summed without it") from e
        offsets = table["offset"]
        yield start, stop, table.filter(pc.and_(pc.greater_equal(offsets, start), pc.less(offsets, stop)))
        start = stop
