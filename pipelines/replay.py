"""Reads every recorded transaction again with the memory it was read with; the tables must come out the same.

A transaction records its view: how far every chain was applied when it was read.  The memory at that view is the sum
of the contributions below it, so it can be made again at any time, without the live one: views are visited in an
order in which they mostly grow, contributions between two views are added, and where a chain stands further back in
the next view they are subtracted.  Both are exact, as memory is a group.

Erased documents are in no such sum.  What was read while they were still in memory may come out differently; these
transactions are named.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kie_ops.errors import LogError, PositionError
from kie_ops.extractor import Extractor
from kie_ops.records import DeadLetter, Document, RawRecord
from memory_store.local import LocalStore
from memory_store.store import ERASURES
from pipelines import decoding, rows
from pipelines.commit_log import Log, Transaction, chains, segment_size, settle_segment_size
from pipelines.config import Config
from pipelines.feed import Feed
from pipelines.ledger import STREAMS
from pipelines.parse import parse
from pipelines.parts import parts
from pipelines.publisher import Publisher
from pipelines.recovery import MARK
from pipelines.storage import Storage
from pipelines.tombstones import Tombstones
from pipelines.whole_tables import files, whole_table

OpenFeed = Callable[[int, int], Feed]
"""(shard k, shards K) -> the feed of the partitions p with p mod K = k."""
PATIENCE_S = 60.0
SHARDS = 2**31
"""More than there are partitions: each is a shard of its own."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A committed transaction without its rows."""

    stream: str
    partition: int
    start: int
    end: int
    view: Mapping[str, int]
    engine: str

    @property
    def chain(self) -> str:
        return f"{self.stream}/{self.partition}"

    def __str__(self) -> str:
        return f"{self.chain} [{self.start}, {self.end})"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was read again.  `inexact`: transactions that saw documents which were erased since."""

    transactions: int
    documents: int
    dead_letters: int
    inexact: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    """Table files that are not the same, byte for byte, or that only one side has."""


def replay_recorded(
    config: Config, extractor: Extractor, source: Storage, open_feed: OpenFeed, out: Storage,
    progress: Callable[[int], None] = lambda documents: None,
) -> Replayed:
    """Writes the tables of `source` anew to `out`, from raw records and recorded views, and compares their bytes.

    open_feed: supplies the raw records of the same streams (the topic, or an archive of it).  progress: called with
    the documents read so far.  Raises PositionError where the feed cannot supply them, LogError where `out` is not
    empty.
    """
    if chains(out):
        raise LogError("a replay needs empty tables to write to", where=out.root, next_step="choose another folder")
    size = settle_segment_size(out, segment_size(source) or config.tables.segment)
    for stream in STREAMS:
        _copy(Log(source, stream, 0), Log(out, stream, 0))
    replay = _Replay(config, extractor, Timeline(source), _Sources(open_feed), Tombstones.load(source))
    publisher = Publisher(out, size, config.tables.trim)
    logs: dict[str, Log] = {}
    inexact: list[str] = []
    count = 0
    for recorded in visiting_order(transactions(source)):
        log = logs.get(recorded.chain)
        if log is None:
            log = logs[recorded.chain] = Log(out, recorded.stream, recorded.partition)
            log.open_at(recorded.start)
        if not log.commit(replay.read(recorded)):
            raise LogError("somebody else writes there", where=f"{out.root}, {recorded}")
        count += 1
        if replay.touched(recorded):
            inexact.append(str(recorded))
        progress(replay.documents)
    replay.sources.close()
    for log in logs.values():
        publisher.publish(log)
    return Replayed(count, replay.documents, replay.dead_letters, tuple(inexact), tuple(differences(source, out)))


def transactions(storage: Storage) -> list[Recorded]:
    """Every transaction of documents: of the log, and below its floors of the table `transactions`."""
    found: list[Recorded] = []
    for stream, partition in chains(storage):
        for t in Log(storage, stream, partition).transactions():
            found.append(Recorded(t.stream, t.partition, t.start, t.end, t.view, t.engine))
    for table in whole_table(storage, "transactions"):
        for row in table.to_pylist():
            view = dict(row["view"])
            found.append(Recorded(row["stream"], row["partition"], row["from"], row["to"], view, row["engine"]))
    once = {(each.chain, each.start): each for each in found if each.stream not in STREAMS}
    return list(once.values())


def visiting_order(recorded: Sequence[Recorded]) -> Iterator[Recorded]:
    """Each chain in its own order; among chains, the smaller view first.

    Where one view is contained in another its sum is smaller, so views grow wherever they can be compared.
    """
    queues: dict[str, deque[Recorded]] = {}
    for each in sorted(recorded, key=lambda r: (r.chain, r.start)):
        queues.setdefault(each.chain, deque()).append(each)
    heads = [(sum(queue[0].view.values()), chain) for chain, queue in queues.items()]
    heapq.heapify(heads)
    while heads:
        _, chain = heapq.heappop(heads)
        yield queues[chain].popleft()
        if queues[chain]:
            heapq.heappush(heads, (sum(queues[chain][0].view.values()), chain))


@dataclass
class _Replay:
    config: Config
    extractor: Extractor
    timeline: Timeline
    sources: _Sources
    tombstones: Tombstones
    documents: int = 0
    dead_letters: int = 0

    def read(self, recorded: Recorded) -> Transaction:
        """Step 3 of the protocol, with the recorded view in place of the live memory."""
        parsed = [
            parse(record, self.config.source.format, self.config.domain_name)
            for record in self.sources.range(recorded) if not self.tombstones.covers(record.place)
        ]
        documents = [each for each in parsed if isinstance(each, Document)]
        letters = [each for each in parsed if isinstance(each, DeadLetter)]
        readings = self.extractor.encode(documents)
        contributions = [self.extractor.contribution(reading) for reading in readings]
        recall = self.timeline.at(recorded.view).recall(decoding.wanted(self.extractor, readings))
        decoded = decoding.decode(self.extractor, readings, contributions, recall.cells)
        self.documents += len(documents)
        self.dead_letters += len(letters)
        tables = rows.to_tables(decoded, letters, contributions, self.config.domain_name, self.extractor.version)
        return Transaction(
            recorded.stream, recorded.partition, recorded.start, recorded.end, recorded.view, recorded.engine, tables
        )

    def touched(self, recorded: Recorded) -> bool:
        """Whether a document erased later was in memory, or in the batch itself, when this was read."""
        known = recorded.view.get(ERASURES, 0)
        reached = {**recorded.view, recorded.chain: recorded.end}
        return any(t.position > known and t.place.offset < reached.get(t.place.chain, 0) for t in self.tombstones)


class Timeline:
    """The memory as it was at any view."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._store = LocalStore("timeline")
        self._tombstones = Tombstones.load(storage)
        self._positions: dict[str, int] = {}
        self._logs = {f"{s}/{p}": Log(storage, s, p) for s, p in chains(storage)}
        self._steps = 0

    def at(self, view: Mapping[str, int]) -> LocalStore:
        """The sum of all contributions below `view`, without erased documents.  LogError for a chain not known."""
        for chain in sorted(view.keys() | self._positions.keys()):
            if chain.startswith(MARK) or chain == ERASURES:
                continue
            if chain not in self._logs:
                raise LogError("a view names a chain that is not in the log", where=chain,
                               next_step="restore the log whole, with all its chains")
            self._move(self._logs[chain], self._positions.get(chain, 0), view.get(chain, 0))
            self._positions[chain] = view.get(chain, 0)
        return self._store

    def _move(self, log: Log, here: int, there: int) -> None:
        if here == there:
            return
        for part in parts(log, min(here, there), max(here, there), self._tombstones):
            increments = part.increments if here < there else tuple(i.negated() for i in part.increments)
            self._store.apply("steps/0", self._steps, self._steps + 1, increments, erasures=0)
            self._steps += 1


@dataclass
class _Sources:
    """Raw records by range: one feed a partition, so that no partition waits for another."""

    open_feed: OpenFeed
    _feeds: dict[int, Feed] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)
    _ahead: dict[int, deque[RawRecord]] = field(default_factory=dict)

    def range(self, recorded: Recorded) -> list[RawRecord]:
        """All records of the transaction's range.  Raises PositionError where the feed cannot supply them."""
        partition, end = recorded.partition, recorded.end
        feed = self._feed(recorded)
        if self._next.get(partition) != recorded.start:
            feed.seek(partition, recorded.start)
            self._ahead[partition] = deque()
        ahead, out = self._ahead[partition], []
        waited = 0.0
        while not (ahead and ahead[-1].place.offset >= end - 1) and not feed.exhausted():
            polled = [record for record in feed.poll(1.0) if record.place.partition == partition]
            ahead.extend(polled)
            waited = 0.0 if polled else waited + 1.0
            if waited >= PATIENCE_S:
                raise PositionError(f"the source has nothing before {end}", where=str(recorded),
                                    next_step="replay from an archive of the topic")
        while ahead and ahead[0].place.offset < end:
            out.append(ahead.popleft())
        self._next[partition] = end
        return out

    def _feed(self, recorded: Recorded) -> Feed:
        partition = recorded.partition
        if partition not in self._feeds:
            feed = self.open_feed(partition, SHARDS)
            stream = feed.partitions().get(partition)
            if stream != recorded.stream:
                raise PositionError(f"the source is stream {stream}, not {recorded.stream}", where=str(recorded),
                                    next_step="give the topic, or the archive, these tables were read from")
            self._feeds[partition] = feed
        return self._feeds[partition]

    def close(self) -> None:
        for feed in self._feeds.values():
            feed.close()


def differences(one: Storage, other: Storage) -> Iterator[str]:
    """Paths of table files that are not the same in both, byte for byte."""
    ours, theirs = set(files(one)), set(files(other))
    for path in sorted(ours | theirs):
        if path not in ours or path not in theirs or one.read(path) != other.read(path):
            yield path


def _copy(source: Log, out: Log) -> None:
    for transaction in source.transactions():
        out.commit(transaction)
