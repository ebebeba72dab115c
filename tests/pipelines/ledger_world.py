"""A log with documents, corrections and erasures, its memory, and what that memory should be by plain addition."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kie_ops.memory import Contribution, Increment, field as field_name, total
from kie_ops.records import Place
from memory_store import dump
from memory_store.local import LocalStore
from memory_store.store import ERASURES, Applied
from pipelines import recovery
from pipelines.commit_log import Log, settle_segment_size
from pipelines.ledger import Ledger
from pipelines.publisher import Publisher
from pipelines.storage import Storage
from pipelines.storage_object import ObjectStorage
from tests.pipelines import chains

SEGMENT = 4


def taught(id: str, key: str = "aspirin", label: str = "Chemical") -> Contribution:
    """A correction's contribution."""
    return Contribution(id, (
        Increment(key, field_name("reviewer", "bc5cdr", "entity", label), 1),
        Increment(f"{key}s", field_name("reviewer", "bc5cdr", "entity", label), 1),
    ))


def empty_storage() -> Storage:
    """An object store in this process."""
    return ObjectStorage("memory://")


def content(store: LocalStore) -> bytes:
    return b"".join(dump.lines(store.cells()))


def sum_of(contributions: Iterable[Contribution]) -> bytes:
    store = LocalStore("sum")
    store.apply("all/0", 0, 1, total(contributions), erasures=0)
    return content(store)


def snapshot(store: LocalStore) -> dict[str, Any]:
    return {name: copy.copy(value) for name, value in vars(store).items() if isinstance(value, dict)}


def restore(store: LocalStore, saved: dict[str, Any]) -> None:
    for name, value in saved.items():
        setattr(store, name, copy.copy(value))


@dataclass
class World:
    storage: Storage = field(default_factory=empty_storage)
    store: LocalStore = field(default_factory=LocalStore)
    documents: dict[Place, Contribution] = field(default_factory=dict)
    corrections: dict[str, Contribution] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        settle_segment_size(self.storage, SEGMENT)
        self.ledger = Ledger(self.storage, self.store)
        self.publisher = Publisher(self.storage, SEGMENT)

    def log(self, partition: int) -> Log:
        return Log(self.storage, chains.STREAM, partition)

    def commit(self, partition: int, count: int = 1) -> tuple[int, int]:
        """Commits the partition's next documents, and does not apply them."""
        log = self.log(partition)
        start = log.end()
        end = min(start + count, (start // SEGMENT + 1) * SEGMENT)
        assert log.commit(chains.transaction(start, end, partition=partition))
        for offset in range(start, end):
            if not chains.is_dead(offset):
                place = Place(chains.STREAM, partition, offset)
                self.documents[place] = chains.contribution(offset, partition=partition)
        return start, end

    def read(self, partition: int, count: int = 1, *, erasures: int | None = None) -> Applied:
        """Commits the next documents and applies them as a worker does, naming the erasures it knows."""
        known = self.store.positions().get(ERASURES, 0) if erasures is None else erasures
        start, end = self.commit(partition, count)
        added = total(self.documents[p] for p in sorted(self.documents)
                      if p.partition == partition and start <= p.offset < end)
        return self.store.apply(f"{chains.STREAM}/{partition}", start, end, added, erasures=known)

    def correct(self, id: str, key: str = "aspirin") -> None:
        self.ledger.correct(id, taught(id, key))
        self.corrections[id] = taught(id, key)

    def undo(self, id: str) -> None:
        self.ledger.undo(id)
        self.undone.add(id)

    def forget(self, place: Place) -> None:
        self.ledger.forget(place=place)
        self.documents.pop(place, None)

    def publish(self) -> None:
        for partition in (0, 1):
            self.publisher.publish(self.log(partition))

    def catch_up(self) -> None:
        recovery.catch_up(self.storage, self.store)

    def expected(self) -> bytes:
        """What memory should be: the sum of all documents not forgotten and all corrections not withdrawn."""
        active = [c for id, c in self.corrections.items() if id not in self.undone]
        return sum_of([*self.documents.values(), *active])

    def check(self) -> None:
        self.catch_up()
        assert content(self.store) == self.expected()
        assert recovery.verify(self.storage, self.store) == []

    def rows_of(self, places: Sequence[Place]) -> list[str]:
        """Where rows of these places lie still: files of the log and of the tables."""
        from pipelines.segments import from_parquet

        wanted = set(places)
        found = []
        for stream, partition in {(p.stream, p.partition) for p in places}:
            for transaction in Log(self.storage, stream, partition).transactions():
                for name, table in transaction.tables.items():
                    if wanted & _places(table):
                        found.append(f"log {name}")
        for path, data in chains.files(self.storage).items():
            name = path.split("/")[0]
            if name != "transactions" and wanted & _places(from_parquet(data, name)):
                found.append(path)
        return found


def _places(table: Any) -> set[Place]:
    columns = [table[name].to_pylist() for name in ("stream", "partition", "offset")]
    return {Place(*values) for values in zip(*columns, strict=True)}
