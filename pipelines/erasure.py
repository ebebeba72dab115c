"""Forgetting a document: its tombstone, its contribution taken out of memory, its rows taken out of log and tables.

    1 tombstone   committed to the chain ``erasures/0``: from here on nobody applies or publishes the document
    2 memory      its contribution subtracted where memory holds it, in one step with the erasures position
    3 mark        ``_log/_ERASED`` says, durably, whose contributions may be gone from log and memory_log
    4 rows        taken out of log files and table files

A crash anywhere: whoever catches up does 2, whoever asks again does 3 and 4.  A memory restored from a copy older than
2 gets its subtraction from the log as long as 3 has not been reached; after that, where it holds the document, it is
cleared and summed anew.

Where cells of the document were evicted, the evictions of them are erased with it; else they would stay at minus one.
The ledger looks for them before its tombstone, and again after a note in the evictions' chain that no eviction chosen
before can get past.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kie_ops.errors import ServiceError
from kie_ops.memory import Increment
from kie_ops.records import Place
from memory_store.store import ERASURES, Applied, MemoryStore
from pipelines import parts, tombstones
from pipelines.commit_log import Log, Transaction
from pipelines.faults import at
from pipelines.races import win
from pipelines.storage import Storage
from pipelines.tombstones import Tombstones
from pipelines.whole_tables import whole_table

KEY = "_log/_ERASURE_KEY"
ERASED = "_log/_ERASED"
LOCK = "_log/_ERASED.lock"
REBUILDING = "_log/_REBUILD.lock"
EVICTIONS = "evictions"


# -- 1 tombstone ----------------------------------------------------------------------------------------------------


def bury(storage: Storage, place: Place, hash: str, id: str) -> bool:
    """Commits the tombstone of `place`; False where there is one already.

    One tombstone a transaction, so that memory knows either all of a transaction or nothing.
    """
    log = Log(storage, tombstones.STREAM, tombstones.PARTITION)
    return win(lambda: _bury_once(log, place, hash, id), log.chain)


def _bury_once(log: Log, place: Place, hash: str, id: str) -> bool | None:
    known = Tombstones.load(log.storage)
    if known.covers(place):
        return False
    start = known.position
    row = {"stream": place.stream, "partition": place.partition, "offset": place.offset, "hash": hash, "id": id}
    table = pa.Table.from_pylist([row], tombstones.SCHEMA)
    written = Transaction(log.stream, log.partition, start, start + 1, {}, "engram", {tombstones.TABLE: table})
    return True if log.commit(written) else None


def keyed_hash(storage: Storage, *parts: str) -> str:
    """Keyed BLAKE2b (RFC 7693) of `parts`, 32 hexadecimal digits: whoever holds the log's key and the document can
    tell that it was erased, nobody can tell the document from the hash."""
    try:
        key = storage.read(KEY)
    except FileNotFoundError:
        storage.create(KEY, os.urandom(32))
        key = storage.read(KEY)
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), key=key, digest_size=16).hexdigest()


# -- 2 memory -------------------------------------------------------------------------------------------------------


def settle(storage: Storage, store: MemoryStore, known: Tombstones) -> bool:
    """Step 2 for every tombstone that memory does not know yet.  False: memory changed meanwhile, start over."""
    positions = store.positions()
    position = positions.get(ERASURES, 0)
    for tombstone in sorted((t for t in known if t.position > position), key=lambda t: t.position):
        place, end = tombstone.place, tombstone.position
        inverse: tuple[Increment, ...] = ()
        if end > erased(storage):
            log = Log(storage, place.stream, place.partition)
            inverse = tuple(i.negated() for i in parts.contribution(log, place.offset))
        if end <= erased(storage):  # perhaps taken out while it was read
            inverse = ()
            if positions.get(place.chain, 0) > place.offset:
                _clear(storage, store, positions)
                return False
        if store.erase(end - 1, end, place.chain, place.offset, inverse) is Applied.BEHIND:
            return False
        at("erased")
    return True


def _clear(storage: Storage, store: MemoryStore, seen: dict[str, int]) -> None:
    """Unless somebody was first."""
    with storage.lock(REBUILDING):
        now = store.positions()
        if all(now.get(chain, 0) >= position for chain, position in seen.items()) \
                and now.get(ERASURES, 0) == seen.get(ERASURES, 0):
            store.clear()


# -- 3 mark, 4 rows -------------------------------------------------------------------------------------------------


def erased(storage: Storage) -> int:
    """Position of the erasures chain: contributions erased below it may be gone from the log."""
    try:
        return int(storage.read(ERASED))
    except FileNotFoundError:
        return 0


def clean(storage: Storage, store: MemoryStore, places: Sequence[Place]) -> None:
    """Steps 3 and 4.  Memory must know the tombstones of `places`; harmless to repeat."""
    known = Tombstones.load(storage)
    positions = [t.position for t in map(known.get, places) if t is not None]
    if max(positions, default=0) > store.positions().get(ERASURES, 0):
        raise ServiceError("memory does not know this erasure yet", where=store.namespace, next_step="try again")
    with storage.lock(LOCK):
        if max(positions, default=0) > erased(storage):
            storage.replace(ERASED, str(max(positions)).encode())
    at("marked")
    for place in places:
        tombstones.scrub(storage, place)
        at("scrubbed")


# -- what is to be erased -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """A document or dead letter in log or tables.  `hash`: keyed, of its id and text."""

    place: Place
    doc_id: str | None
    hash: str


def by_id(storage: Storage, doc_id: str) -> list[Found]:
    """Every document of this id, in log and tables."""
    found = {}
    for table in whole_table(storage, "documents"):
        for row in table.filter(pc.equal(table["doc_id"], doc_id)).to_pylist():
            found[_place(row)] = _document(storage, row)
    return [found[place] for place in sorted(found)]


def by_place(storage: Storage, place: Place) -> Found | None:
    """What stands at a place; None where nothing does (any more)."""
    for name in ("documents", "dead_letters"):
        for table in whole_table(storage, name):
            for row in table.filter(pc.equal(table["offset"], place.offset)).to_pylist():
                if _place(row) == place:
                    return _document(storage, row) if name == "documents" else _letter(storage, row)
    return None


def _document(storage: Storage, row: Mapping[str, Any]) -> Found:
    return Found(_place(row), row["doc_id"], keyed_hash(storage, row["doc_id"], row["text_sha256"]))


def _letter(storage: Storage, row: Mapping[str, Any]) -> Found:
    return Found(_place(row), None, keyed_hash(storage, hashlib.sha256(row["raw"]).hexdigest()))


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["stream"], row["partition"], row["offset"])


def evictions_of(storage: Storage, place: Place) -> list[Place]:
    """Where cells were evicted that held what the document at `place` had added, and nothing else of these fields.

    An eviction took it out if the document was in memory then; of several, the first one did.
    """
    log = Log(storage, EVICTIONS, 0)
    if not log.end():
        return []
    own = {(i.key, i.field): (i.count, i.vector)
           for i in parts.contribution(Log(storage, place.stream, place.partition), place.offset)}
    taken: dict[str, Place] = {}
    for transaction in log.transactions():
        if transaction.view.get(place.chain, 0) <= place.offset:
            continue
        for position, increments in parts.by_offset(transaction):
            for i in (each.negated() for each in increments):
                if own.get((i.key, i.field)) == (i.count, i.vector):
                    taken.setdefault(i.key, Place(EVICTIONS, 0, position))
    known = Tombstones.load(storage)
    return sorted(p for p in taken.values() if not known.covers(p))
