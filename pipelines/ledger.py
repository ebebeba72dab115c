"""Corrections, imports, evictions and erasures: streams of their own in the same log, written by any process.

Each call commits to the log first, then brings memory up to it, so what is said is in force when the call returns.
Where memory does not answer the call raises ServiceError, but what was committed stands: the next catch-up applies it,
and saying it again does no harm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from kie_ops import contributions
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.memory import Contribution, Increment, total
from kie_ops.records import Place
from memory_store import dump, eviction
from memory_store.cells import increments_of
from memory_store.store import ERASURES as ERASURES_CHAIN, MemoryStore
from pipelines import erasure, recovery
from pipelines.corrections import Correction
from pipelines.operations import Op, Operation, Operations, Outcome, Status
from pipelines.parts import MAX_INCREMENTS
from pipelines.storage import Storage
from pipelines.tombstones import STREAM as ERASURES, Tombstones

CORRECTIONS, IMPORTS, EVICTIONS, REPLAYS = "corrections", "imports", erasure.EVICTIONS, "replays"
STREAMS = (CORRECTIONS, IMPORTS, ERASURES, EVICTIONS, REPLAYS)
"""Chains that no document comes from."""
SHIPPED = "memory.jsonl.zst"
EVICTED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of an import: added, duplicate (all of it was there), withdrawn or undone; `increments` of now."""

    name: str
    status: Status
    increments: int = 0
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """`places` are erased; `corrections` are ids of those in force that name the document: they are the reviewers'."""

    places: tuple[Place, ...]
    corrections: tuple[str, ...] = ()
    already: bool = False
    """Whether everything had been erased before."""


class Ledger:
    """Writes to the chains of one log and its memory.  As old as the process: it keeps what it has read.

    Not safe among threads.
    """

    def __init__(self, storage: Storage, store: MemoryStore) -> None:
        self.storage, self.store = storage, store
        self.corrections = Operations(storage, CORRECTIONS)
        self.imports = Operations(storage, IMPORTS)
        self.evictions = Operations(storage, EVICTIONS)

    # -- corrections ------------------------------------------------------------------------------------------------

    def correct(self, id: str, contribution: Contribution, meta: Mapping[str, Any] | None = None) -> Outcome:
        """Adds what correction `id` stands for.  Saying it twice, or after its undo, changes nothing.

        Raises InputError where the id stands for something else already, or no memory can hold it.
        """
        dump.check(contribution.increments)
        (outcome,) = self.apply([Operation(Op.ADD, id, contribution.increments, dict(meta or {}))])
        if outcome.status is Status.CONFLICT:
            raise InputError("this id stands for another correction", where=id, next_step="give each its own")
        return outcome

    def teach(self, domain: Domain, correction: Correction) -> Outcome:
        """A reviewer's correction (or its withdrawal) by the labels of `domain`.  Raises InputError."""
        (outcome,) = self.apply([operation(domain, correction)])
        if outcome.status is Status.CONFLICT:
            raise InputError(
                "this id stands for another correction", where=correction.id, next_step="give each correction its own"
            )
        return outcome

    def undo(self, id: str) -> Outcome:
        """Withdraws correction `id`, also before it arrives (EARLY)."""
        (outcome,) = self.apply([Operation(Op.WITHDRAW, id)])
        return outcome

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Several operations on corrections, in order; one outcome each."""
        outcomes = self.corrections.append(operations)
        self._catch_up(self.corrections)
        return outcomes

    # -- imports ----------------------------------------------------------------------------------------------------

    def import_(
        self, name: str, given: Iterable[Contribution], meta: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] = lambda increments: None,
    ) -> Imported:
        """Adds contributions in transactions of at most 6,000 increments.

        Known by name and content: done before it changes nothing, interrupted it goes on where it was.  progress:
        called with the increments committed so far.  Raises InputError where `name` was imported with other content,
        or no memory can hold it.
        """
        increments = total(given)
        dump.check(increments)
        content = _digest(increments)
        others = {e.meta["content"] for e in self.imports.active().values() if e.meta["name"] == name} - {content}
        if others:
            raise InputError("other content was imported under this name", where=name,
                             next_step="choose another name, or take the old import back: engram memory undo NAME")
        statuses, added = set(), 0
        starts = range(0, len(increments), MAX_INCREMENTS)
        for number, at in enumerate(starts):
            chunk = increments[at : at + MAX_INCREMENTS]
            about = {**(meta or {}), "name": name, "content": content, "chunk": number, "chunks": len(starts)}
            id = f"{name}@{content}/{number}"
            (outcome,) = self.imports.append([Operation(Op.ADD, id, chunk, about, origin=name)])
            statuses.add(outcome.status)
            added += outcome.increments
            progress(at + len(chunk))
        self._catch_up(self.imports)
        status = next((s for s in (Status.WITHDRAWN, Status.ADDED) if s in statuses), Status.DUPLICATE)
        return Imported(name, status, added, len(starts))

    def undo_import(self, name: str) -> Imported:
        """Takes back every part of an import, also of an unfinished one; it cannot be imported again as it was.

        Raises InputError where there is no import of this name in force.
        """
        parts = {id: e for id, e in self.imports.active().items() if e.meta["name"] == name}
        if not parts:
            names = sorted({e.meta["name"] for e in self.imports.active().values()})
            raise InputError("no such import", where=name, next_step=f"there are: {', '.join(names) or 'none'}")
        outcomes = self.imports.append([Operation(Op.WITHDRAW, id, (), {"name": name}, origin=name) for id in parts])
        self._catch_up(self.imports)
        return Imported(name, Status.UNDONE, sum(o.increments for o in outcomes), len(outcomes))

    def prime(self, domain: Domain, progress: Callable[[int], None] = lambda increments: None) -> Imported:
        """Imports the memory that `domain` ships, once in the life of a log, whoever asks and however often.

        A log primed with an older version of it stays as it is: what was read stays explained.
        """
        name = f"shipped:{domain.name}"
        path = None if domain.folder is None else domain.folder / SHIPPED
        if path is None or not path.is_file():
            return Imported(name, Status.DUPLICATE)
        mark = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        entries = [e for e in self.imports.entries() if e.op is Op.ADD and e.meta["name"] == name]
        whole = entries and len({e.id for e in entries}) == entries[0].meta["chunks"]
        if whole or any(e.meta["file"] != mark for e in entries):
            self._catch_up(self.imports)
            return Imported(name, Status.DUPLICATE, 0, len(entries))
        return self.import_(name, [dump.contribution(path, name)], {"file": mark}, progress)

    # -- evictions --------------------------------------------------------------------------------------------------

    def evict(self, max_cells: int) -> int:
        """Commits and applies what memory holds beyond its cap (memory_store.eviction); the cells evicted.

        Each cell is an operation of its own, so that a document can take its evictions with it when it is forgotten.
        What others evict meanwhile is theirs: this call then ends.
        """
        recovery.catch_up(self.storage, self.store)
        due = eviction.due(self.store, max_cells)
        left, done = list(dict.fromkeys(i.key for i in due.increments)) if due else [], 0
        while left:
            start = self.evictions.refresh()
            batch, view = self._evictable(left[:EVICTED_AT_ONCE], start)
            erasures = Tombstones.load(self.storage)
            if view.get(self.evictions.log.chain, 0) != start or view.get(ERASURES_CHAIN, 0) != erasures.position:
                break
            written = self.evictions.commit_at(start, batch, view) if batch else 0
            if written < min(len(batch), 1):
                break
            if written == len(batch):
                left = left[EVICTED_AT_ONCE:]
            done += written
            self._catch_up(self.evictions)
        return done

    def _evictable(self, keys: Sequence[str], start: int) -> tuple[list[Operation], Mapping[str, int]]:
        """What these cells hold now and the view they hold it at: one atomic read, so that an eviction takes out
        exactly what its view names.  Those that may not go any more, or are gone, are left out."""
        recall = self.store.recall(keys)
        cells = [recall.cells[key] for key in keys if key in recall.cells]
        gone = [tuple(i.negated() for i in increments_of(cell)) for cell in cells if eviction.seen_once(cell)]
        return [Operation(Op.NOTE, f"evicted-{start + n}", each, origin="eviction")
                for n, each in enumerate(gone)], recall.view

    # -- erasures ---------------------------------------------------------------------------------------------------

    def forget(self, *, place: Place | None = None, doc_id: str | None = None) -> Forgotten:
        """Erases a document: memory as if it had never been seen, its rows gone from tables and log.

        By place, or every document of one id.  Run again after a crash it ends what was begun.  Rows of other
        documents that were decided with it stay.  Raises InputError where nothing stands there.
        """
        if (place is None) == (doc_id is None):
            raise InputError("forget takes a place or a document id", next_step="give one of the two")
        known = Tombstones.load(self.storage)
        found = self._found(place, doc_id)
        begun = [t.place for t in known if (t.place == place or (doc_id is not None and t.id == self._erasure(doc_id)))]
        places = [each.place for each in found]
        if not places and not begun:
            raise InputError("no such document in log or tables", where=doc_id or str(place),
                             next_step="a place is STREAM/PARTITION/OFFSET, as in the table documents")
        evicted: list[Place] = []
        for each in found:
            evicted += self._bury(each)
        evicted += self._bury_evictions({*places, *begun})
        everything = tuple(dict.fromkeys([*places, *begun, *evicted]))
        recovery.catch_up(self.storage, self.store)
        erasure.clean(self.storage, self.store, everything)
        names = {each.doc_id for each in found if each.doc_id} | ({doc_id} if doc_id else set())
        return Forgotten(everything, self._naming(names, everything), already=all(map(known.covers, everything)))

    def finish_erasures(self) -> int:
        """Ends every erasure that a crash left half-done; how many there are."""
        places = {t.place for t in Tombstones.load(self.storage)}
        evicted = self._bury_evictions(places)
        recovery.catch_up(self.storage, self.store)
        erasure.clean(self.storage, self.store, [*sorted(places), *evicted])
        return len(places)

    def _found(self, place: Place | None, doc_id: str | None) -> list[erasure.Found]:
        if doc_id is not None:
            return erasure.by_id(self.storage, doc_id)
        assert place is not None
        if place.stream in STREAMS:
            raise InputError("only documents can be forgotten", where=str(place),
                             next_step="take a correction or an import back with engram memory undo")
        found = erasure.by_place(self.storage, place)
        return [] if found is None else [found]

    def _bury(self, found: erasure.Found) -> list[Place]:
        evicted = erasure.evictions_of(self.storage, found.place)
        for place in (*evicted, found.place):
            erasure.bury(self.storage, place, found.hash, self._erasure(found.doc_id))
        return evicted

    def _bury_evictions(self, places: Set[Place]) -> list[Place]:
        """Evictions of these documents that were committed while they were buried; they have tombstones by now.

        First a note in the evictions' chain: whoever chose cells before it cannot commit them any more, and whoever
        chooses them after it knows the tombstones.
        """
        if not places:
            return []
        known = Tombstones.load(self.storage)
        self.evictions.append([Operation(Op.NOTE, f"erasures-{known.position}")])
        evicted = []
        for tombstone in known:
            if tombstone.place in places and tombstone.position > erasure.erased(self.storage):
                for place in erasure.evictions_of(self.storage, tombstone.place):
                    erasure.bury(self.storage, place, tombstone.hash, tombstone.id)
                    evicted.append(place)
        return evicted

    def _erasure(self, doc_id: str | None) -> str:
        """An erasure's id: of the document's id, so that one begun by id is found again once its rows are gone."""
        return erasure.keyed_hash(self.storage, "erasure", doc_id or "")

    def _naming(self, ids: set[str], places: Sequence[Place]) -> tuple[str, ...]:
        named = {*ids, *map(str, places)}
        active = self.corrections.active()
        return tuple(sorted(id for id, entry in active.items() if entry.meta.get("doc_id") in named))

    def _catch_up(self, operations: Operations) -> None:
        recovery.catch_up(self.storage, self.store, [operations.log.chain])


def operation(domain: Domain, correction: Correction) -> Operation:
    """A correction as an operation, with what it adds to memory.  Raises InputError."""
    if correction.op == "withdraw":
        return Operation(Op.WITHDRAW, correction.id, (), correction.meta())
    contribution = contributions.of_correction(
        domain, correction.id, correction.text or "", label=correction.label, reject=correction.reject,
        concept=correction.concept, scheme=correction.scheme, doc_id=correction.doc_id,
    )
    dump.check(contribution.increments)
    return Operation(Op.ADD, correction.id, contribution.increments, correction.meta())


def _digest(increments: Sequence[Increment]) -> str:
    text = json.dumps([(i.key, i.field, i.count, i.vector) for i in increments])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
