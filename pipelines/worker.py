"""One worker: the seven steps of the commit protocol (docs/architecture.md) for the partitions of one shard.

    1 own      find the log's end, apply to memory what it lacks, seek the feed there
    2 gather   one contiguous batch of one partition                      (pipelines.shard)
    3 read     encode; one atomic read of memory; decode in order
    4 commit   create the log file exclusively, only at the log's end
    5 apply    add the contributions to memory, by one script
    6 publish  Parquet segments from the log's rows                       (pipelines.publisher)
    7 trim     keep memory_log, move the floor, delete log files          (pipelines.publisher)

A crash anywhere: start at 1.  Nothing here relies on where a runner ends its bundles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from kie_ops.extractor import Extractor
from kie_ops.memory import Contribution, Increment, Recall, total
from kie_ops.records import DeadLetter, Reading
from kie_ops.text_reading import TextReading
from memory_store.store import ERASURES, Applied, MemoryStore
from pipelines import decoding, drift as drifting, recovery, rows
from pipelines.commit_log import Log, Transaction
from pipelines.config import Config
from pipelines.corrections_feed import CorrectionsFeed, open_corrections
from pipelines.drift import Drift
from pipelines.faults import at
from pipelines.kafka_feed import KafkaFeed
from pipelines.ledger import STREAMS as LEDGER_STREAMS, Ledger
from pipelines.metrics import METRICS
from pipelines.parsed import Parsed
from pipelines.publisher import Publisher
from pipelines.session import open_extractor, open_store
from pipelines.shard import Shard
from pipelines.storage import Storage, verify_exclusive

HOUSEKEEPING_S = 30.0
COMPACT_AT = 2
CORRECTIONS_S = 0.001
CORRECTIONS = "corrections/0"


@dataclass(frozen=True, slots=True)
class _Cut:
    """A part of a batch small enough for one application: `end` is the position after it."""

    start: int
    end: int
    readings: Sequence[TextReading]
    contributions: Sequence[Contribution]
    dead_letters: Sequence[DeadLetter]


@dataclass
class Worker:
    """Serves one shard; as old as the process, so that model, connections and caches are kept between rounds."""

    config: Config
    shard: Shard
    extractor: Extractor
    storage: Storage
    store: MemoryStore
    publisher: Publisher
    ledger: Ledger
    engine: str
    corrections: CorrectionsFeed | None = None
    drift: Drift | None = None
    seen: dict[str, int] = field(default_factory=dict)
    """The newest view this process has had; an older one means that memory has lost something."""
    _housekeeping_due: float = 0.0
    _reference_kept: bool = False
    _said: dict[str, int] = field(default_factory=dict)
    """How far corrections, imports, erasures and evictions go, as this process last saw it."""

    def own(self) -> None:
        """Step 1, for every partition of the shard."""
        self.catch_up()
        for partition in self.shard.logs:
            self.shard.rewind(partition)
        at("owned")

    def process(self, parsed: Parsed) -> None:
        """Steps 3 to 5 for one batch, in one transaction or, where memory grows a lot, several."""
        at("gathered")
        log = self.shard.logs[parsed.batch.partition]
        with _stage("encode"):
            readings = self.extractor.encode(parsed.documents)
        for cut in self._cuts(parsed, readings):
            if not self._transact(log, cut):
                METRICS.discarded.inc()
                self.own()
                return

    def publish(self) -> None:
        """Steps 6 and 7; on a tick, also when nothing arrives.  Corrections that arrived are taken in with it."""
        if self.corrections is not None:
            self.corrections.step(CORRECTIONS_S)
        positions = self.store.positions()
        if self._went_back(positions) or self._lacks(positions):
            self.catch_up()
        if self.drift is not None:
            self.drift.corrected(positions.get(CORRECTIONS, 0))
            self.drift.tell()
        with _stage("publish"):
            for partition, log in sorted(self.shard.logs.items()):
                self.publisher.publish(log)
                self.shard.report(partition)
        self._housekeep()

    def _housekeep(self) -> None:
        """Memory kept under its cap, and counted; now and then, as counting is not free."""
        now = time.monotonic()
        if now < self._housekeeping_due:
            return
        self._housekeeping_due = now + HOUSEKEEPING_S
        if self.drift is not None and self.drift.reference.full and not self._reference_kept:
            drifting.keep(self.storage, _shard(self.config, self.shard), self.drift)
            self._reference_kept = True
        stats = self.store.stats()
        METRICS.memory_cells.set(stats.cells)
        if stats.cells > self.config.memory.max_cells:
            self.ledger.evict(self.config.memory.max_cells)
        if stats.log_keys > COMPACT_AT * max(stats.cells, 10_000):
            self.store.compact()

    def catch_up(self) -> None:
        self._said = {log.chain: log.end() for log in self._ledger_logs()}
        recovery.catch_up(self.storage, self.store)
        self.seen = dict(self.store.positions())

    # -- step 3 -----------------------------------------------------------------------------------------------------

    def _cuts(self, parsed: Parsed, readings: Sequence[TextReading]) -> Iterator[_Cut]:
        """Contributions depend on the texts alone, so a batch can be cut before memory is read."""
        by_offset = {reading.document.place.offset: reading for reading in readings if reading.document.place}
        letters = {letter.place.offset: letter for letter in parsed.dead_letters}
        start, size = parsed.batch.start, 0
        part: list[TextReading] = []
        added: list[Contribution] = []
        dead: list[DeadLetter] = []
        for offset in sorted(by_offset.keys() | letters.keys()):
            reading = by_offset.get(offset)
            contribution = None if reading is None else self.extractor.contribution(reading)
            grows = 0 if contribution is None else len(contribution.increments)
            if size and size + grows > self.config.batch.increments:
                yield _Cut(start, offset, part, added, dead)
                start, size, part, added, dead = offset, 0, [], [], []
            size += grows
            if reading is not None and contribution is not None:
                part.append(reading)
                added.append(contribution)
            else:
                dead.append(letters[offset])
        yield _Cut(start, parsed.batch.end, part, added, dead)

    def _recall(self, log: Log, cut: _Cut) -> Recall:
        """One atomic read of memory, which contains exactly the partition's log up to the cut."""
        keys = decoding.wanted(self.extractor, cut.readings)
        recall = self.store.recall(keys)
        if recall.view.get(log.chain, 0) != cut.start or self._went_back(recall.view):
            self.catch_up()
            recall = self.store.recall(keys)
        self.seen = dict(recall.view)
        return recall

    # -- steps 4 and 5 ----------------------------------------------------------------------------------------------

    def _transact(self, log: Log, cut: _Cut) -> bool:
        """False: somebody else committed this range, or the log does not end here.  Everything was discarded."""
        with _stage("recall"):
            recall = self._recall(log, cut)
        if recall.view.get(log.chain, 0) != cut.start:
            return False
        with _stage("decode"):
            decoded = decoding.decode(self.extractor, cut.readings, cut.contributions, recall.cells)
            tables = rows.to_tables(
                decoded, cut.dead_letters, cut.contributions, self.config.domain_name, self.extractor.version
            )
        transaction = Transaction(log.stream, log.partition, cut.start, cut.end, recall.view, self.engine, tables)
        at("read")
        with _stage("commit"):
            if (cut.start != log.tail and cut.start != log.end()) or not log.commit(transaction):
                return False
        at("committed")
        with _stage("apply"):
            self._apply(log, cut)
        at("applied")
        _count(cut, decoded)
        if self.drift is not None:
            self.drift.read(decoded, cut.dead_letters)
        return True

    def _apply(self, log: Log, cut: _Cut) -> None:
        increments: tuple[Increment, ...] = total(cut.contributions)
        applied = self.store.apply(
            log.chain, cut.start, cut.end, increments, erasures=self.seen.get(ERASURES, 0)
        )
        if applied in (Applied.BEHIND, Applied.STALE):
            self.catch_up()
        self.seen[log.chain] = cut.end

    # -- views ------------------------------------------------------------------------------------------------------

    def _went_back(self, view: Mapping[str, int]) -> bool:
        return any(view.get(chain, 0) < position for chain, position in self.seen.items())

    def _lacks(self, view: Mapping[str, int]) -> bool:
        """Whether memory lacks what was said or erased, or documents of this shard.  It was perhaps set back to an
        older copy before this process had ever seen a newer one, or by somebody who applied with the copy's erasures.
        One look-up a chain of the ledger."""
        for log in self._ledger_logs():
            end = self._said.get(log.chain, 0)
            while log.holds(end):
                end = log.read(end).end
            self._said[log.chain] = end
        read = {log.chain: log.tail or 0 for log in self.shard.logs.values()}
        return any(view.get(chain, 0) < end for chain, end in {**self._said, **read}.items())

    def _ledger_logs(self) -> list[Log]:
        return [Log(self.storage, stream, 0) for stream in LEDGER_STREAMS]


def open_worker(config: Config, shard: Shard, storage: Storage) -> Worker:
    """Opens model and memory for `shard`; a new log is primed with what the domain ships.

    Raises ModelError, ConfigError (also where the store cannot create exclusively), ServiceError where memory does
    not answer.
    """
    verify_exclusive(storage)
    store = open_store(config)
    extractor = open_extractor(config, memory=store)
    ledger = Ledger(storage, store)
    if config.memory.prime:
        ledger.prime(extractor.definition)
    publisher = Publisher(storage, config.tables.segment, config.tables.trim)
    tails = shard.k == 0 and isinstance(shard.feed, KafkaFeed)
    corrections = open_corrections(config, ledger, extractor.definition, extractor) if tails else None
    watch = drifting.open_drift(storage, config.domain_name, _shard(config, shard), size=config.run.drift_window,
                                threshold=config.run.drift_threshold)
    return Worker(config, shard, extractor, storage, store, publisher, ledger, _engine(), corrections, watch)


def _shard(config: Config, shard: Shard) -> str:
    """Names the shard's own record of what is usual."""
    return f"shard-{shard.k}-of-{config.source.shards}"


def _engine() -> str:
    return f"engram {version('engram-kie')}, torch {version('torch')}, float32"


@contextmanager
def _stage(name: str) -> Iterator[None]:
    with METRICS.stage_seconds.labels(name).time():
        yield


def _count(cut: _Cut, decoded: Sequence[Reading]) -> None:
    METRICS.batches.inc()
    METRICS.read(decoded)
    METRICS.documents.inc(len(decoded))
    METRICS.characters.inc(sum(len(reading.document.text) for reading in decoded))
    for letter in cut.dead_letters:
        METRICS.dead_letters.labels(letter.reason).inc()
