"""What was erased: tombstones, read from the erasures chain of the log, and the removal of a document's own rows.

A tombstone is a place, a keyed hash of the document, and the erasure's id; never a key or a text.  Its transaction
has the table ``tombstones`` (stream, partition, offset, hash, id).  Everything that applies or publishes rows leaves
out those of places with a tombstone, as copies of them may still be at hand elsewhere when it is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from kie_ops.errors import LogError
from kie_ops.records import Place
from pipelines import segments
from pipelines.commit_log import Log, Transaction, segment_size
from pipelines.segments import Contended, Publication, Segment
from pipelines.storage import Storage

STREAM, PARTITION = "erasures", 0
CHAIN = f"{STREAM}/{PARTITION}"
TABLE = "tombstones"
SCHEMA = pa.schema([
    pa.field("stream", pa.string(), nullable=False), pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False), pa.field("hash", pa.string(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
])
_HOLDING_ROWS = frozenset(("stream", "partition", "offset"))


@dataclass(frozen=True)
class Tombstone:
    """`position`: the erasures chain's position from which on this is known."""

    place: Place
    hash: str
    id: str
    position: int


class Tombstones:
    """The tombstones up to `position` of the erasures chain."""

    def __init__(self, log: Log | None = None) -> None:
        self._log = log
        self._at: dict[tuple[str, int], dict[int, Tombstone]] = {}
        self.position = 0

    @classmethod
    def load(cls, storage: Storage) -> Tombstones:
        """All there are."""
        tombstones = cls(Log(storage, STREAM, PARTITION))
        tombstones.refresh()
        return tombstones

    def refresh(self) -> int:
        """Reads what was erased since; the position reached."""
        if self._log is not None:
            self.position = max(self.position, self._log.begin())
            for transaction in self._log.transactions(self.position):
                for row in transaction.tables[TABLE].to_pylist():
                    place = Place(row["stream"], row["partition"], row["offset"])
                    self._add(Tombstone(place, row["hash"], row["id"], transaction.end))
                self.position = transaction.end
        return self.position

    def up_to(self, position: int) -> Tombstones:
        """Those known at an earlier position; these do not refresh."""
        earlier = Tombstones()
        for tombstone in self:
            if tombstone.position <= position:
                earlier._add(tombstone)
        earlier.position = min(position, self.position)
        return earlier

    def __iter__(self) -> Iterator[Tombstone]:
        return (tombstone for below in self._at.values() for tombstone in below.values())

    def __len__(self) -> int:
        return sum(map(len, self._at.values()))

    def get(self, place: Place) -> Tombstone | None:
        return self._at.get((place.stream, place.partition), {}).get(place.offset)

    def covers(self, place: Place) -> bool:
        return self.get(place) is not None

    def scrub(self, table: pa.Table) -> pa.Table:
        """Without the rows of erased places; tables without places are returned as they are."""
        if not self._at or not _HOLDING_ROWS.issubset(table.column_names):
            return table
        for (stream, partition), below in self._at.items():
            mine = pc.and_(pc.equal(table["stream"], stream), pc.equal(table["partition"], partition))
            gone = pc.and_(mine, pc.is_in(table["offset"], pa.array(below, pa.int64())))
            table = table.filter(pc.invert(gone))
        return table

    def hide(self, transactions: Sequence[Transaction]) -> Sequence[Transaction]:
        """The same without the rows of erased places, as known now."""
        self.refresh()
        return [t if (t.stream, t.partition) not in self._at else
                replace(t, tables={name: self.scrub(rows) for name, rows in t.tables.items()}) for t in transactions]

    def _add(self, tombstone: Tombstone) -> None:
        place = tombstone.place
        self._at.setdefault((place.stream, place.partition), {}).setdefault(place.offset, tombstone)


def scrub(storage: Storage, place: Place) -> None:
    """Removes a document's own rows: from its log file, and from what was published of it; dead letters too.

    Its tombstone was committed before, so nobody writes them again.  Doing it twice is harmless; a crash in between
    leaves rows, so it is to be done again.  Raises ServiceError where others are always in the way.
    """
    log = Log(storage, place.stream, place.partition)
    with storage.lock(lock_path(log)):
        marks = log.marks()
        if marks is None:
            return
        log.sweep()                                 # what a crash left below the floor
        _scrub_log(log, place.offset)
        _scrub_tables(storage, log, place.offset)


def lock_path(log: Log) -> str:
    """The lock under which a partition's tables are written."""
    return f"{log.folder}/LOCK"


def _scrub_log(log: Log, offset: int) -> None:
    start = max((start for start in log.starts() if start <= offset), default=None)
    if start is None:
        return
    with suppress(FileNotFoundError):               # trimmed meanwhile: only its tables are left
        if offset < log.read(start).end:
            log.rewrite(start, lambda t: replace(t, tables=_without(t.tables, offset)))


def _scrub_tables(storage: Storage, log: Log, offset: int) -> None:
    size = segment_size(storage)
    if size is None:                                # nothing was ever published
        return
    segment, tombstones = Segment.containing(log, offset, size), Tombstones.load(storage)
    for _ in range(segments.ATTEMPTS):
        if offset < _published(log):
            if _filter_tables(storage, segment, offset):
                return
        else:
            first = max(segment.start, log.begin())
            outcome = segments.publish(storage, log, segment, first, tombstones.hide)
            if outcome is not None or offset >= _published(log):
                return
    raise Contended("others write this segment all the time", where=segment.manifest, next_step="erase it again")


def _published(log: Log) -> int:
    marks = log.marks()
    return 0 if marks is None else marks.published


def _filter_tables(storage: Storage, segment: Segment, offset: int) -> bool:
    """Read, filter, write: the one case in which Parquet is read back, as a trimmed log leaves nothing else."""
    publication = Publication(storage, segment)
    if publication.manifest is None:
        raise LogError("a trimmed segment without its manifest", where=segment.manifest,
                       next_step="restore this file from a copy; it says which files hold the document's rows")
    tables = {path: segments.from_parquet(storage.read(path), path.split("/")[0])
              for path in publication.manifest.files}
    left = _without(tables, offset)
    return publication.write(publication.manifest.to, left, durable=True) is not None


def _without(tables: Mapping[str, pa.Table], offset: int) -> dict[str, pa.Table]:
    return {name: table.filter(pc.not_equal(table["offset"], offset)) if "offset" in table.column_names else table
            for name, table in tables.items()}
