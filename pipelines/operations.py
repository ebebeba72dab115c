"""Chains of operations: corrections and imports, each with an id, as transactions of the same log.

An operation *adds* what a correction or an import stands for, or *withdraws* an id.  An id counts where it was added
and not withdrawn, in whatever order the two arrive: an id withdrawn early stays withdrawn.  What a transaction adds to
memory is settled when it is committed, as its writer knows every operation before it: an addition that counts, the
negation of one withdrawn, or nothing.  So applying it is like applying any other transaction.

Positions of such a chain count operations.  These chains are small and never trimmed: they are the record of who
taught what.  Not safe among threads; any number of processes may write at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import pyarrow as pa

from kie_ops import schemas
from kie_ops.errors import LogError
from kie_ops.memory import Contribution, Increment, total
from kie_ops.records import DeadLetter, Place
from pipelines import rows
from pipelines.commit_log import Log, Transaction, segment_size
from pipelines.faults import at
from pipelines.parts import MAX_INCREMENTS, contribution
from pipelines.races import win
from pipelines.storage import Storage

TABLE = "operations"
SCHEMA = pa.schema([
    *schemas.PLACE,
    pa.field("op", pa.string(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("digest", pa.string(), nullable=False),
    pa.field("meta", pa.string(), nullable=False),
])
PARTITION = 0


class Op(str, Enum):
    ADD = "add"
    WITHDRAW = "withdraw"
    NOTE = "note"
    """Of no id's state: what was received and could not be used, what was done outside memory, what was evicted."""


class Status(str, Enum):
    ADDED = "added"
    """In force now."""
    UNDONE = "undone"
    """It was in force; now it is not."""
    EARLY = "early"
    """Withdrawn before it was added: it never counts."""
    WITHDRAWN = "withdrawn"
    """Not added, as its id was withdrawn before."""
    DUPLICATE = "duplicate"
    """Said before; nothing was written."""
    CONFLICT = "conflict"
    """The id stands for something else already; nothing was written."""
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Operation:
    """`increments` count for ADD and NOTE; `origin` (default: the id) names them in memory_log; `meta` is JSON.

    `letter`: what could not be used, kept whole as a dead letter of the chain.
    """

    op: Op
    id: str
    increments: tuple[Increment, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    origin: str | None = None
    letter: DeadLetter | None = None

    @property
    def digest(self) -> str:
        """Of the increments in canonical order: two additions of one id say the same where their digests agree."""
        increments = total([Contribution(self.id, self.increments)])
        text = json.dumps([(i.key, i.field, i.count, i.vector) for i in increments])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation.  `increments`: how many it added to memory; `position`: where it was committed."""

    id: str
    status: Status
    increments: int = 0
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed operation."""

    position: int
    op: Op
    id: str
    digest: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Settled:
    """An operation with what it adds to memory; `writes` is False where there is nothing to commit."""

    operation: Operation
    status: Status
    increments: tuple[Increment, ...] = ()

    @property
    def writes(self) -> bool:
        return self.status in (Status.ADDED, Status.UNDONE, Status.EARLY, Status.NOTED)


class Operations:
    """The operations of one chain, ``stream/0``."""

    def __init__(self, storage: Storage, stream: str) -> None:
        self.log = Log(storage, stream, PARTITION)
        self._position = self.log.begin()
        self._entries: list[Entry] = []
        self._added: dict[str, Entry] = {}
        self._withdrawn: set[str] = set()
        self._noted: set[str] = set()

    # -- what was said so far ---------------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Reads what others committed meanwhile; the chain's end.  LogError where operations are missing."""
        end = self.log.end()
        if self._position < self.log.floor():
            raise LogError(
                "operations were trimmed, but they are the only record of what was taught", where=self.log.chain,
                next_step=f"restore _log/{self.log.chain} from a backup",
            )
        while self._position < end:
            transaction = self.log.read(self._position)
            self._learn(entries(transaction))
            self._position = transaction.end
        return end

    def entries(self) -> Sequence[Entry]:
        """All committed operations in order."""
        self.refresh()
        return tuple(self._entries)

    def active(self) -> dict[str, Entry]:
        """By id: what was added and not withdrawn."""
        self.refresh()
        return {id: entry for id, entry in self._added.items() if id not in self._withdrawn}

    def withdrawn(self) -> frozenset[str]:
        self.refresh()
        return frozenset(self._withdrawn)

    def increments(self, id: str) -> tuple[Increment, ...]:
        """What the addition of `id` added to memory; KeyError where there is none."""
        return contribution(self.log, self._added[id].position)

    def _learn(self, found: Sequence[Entry]) -> None:
        self._entries += found
        for entry in found:
            if entry.op is Op.ADD:
                self._added.setdefault(entry.id, entry)
            elif entry.op is Op.WITHDRAW:
                self._withdrawn.add(entry.id)
            else:
                self._noted.add(entry.id)

    # -- saying more ------------------------------------------------------------------------------------------------

    def append(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Commits `operations` in order, in as few transactions as their size allows; one outcome for each.

        Raises ServiceError where others win every race for the chain's end.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(operations):
            left = operations[len(outcomes):]
            outcomes += win(lambda left=left: self._try(left), self.log.chain)  # type: ignore[misc]
        return outcomes

    def commit_at(self, start: int, operations: Sequence[Operation], view: Mapping[str, int]) -> int:
        """Commits what depends on a view of memory, at `start` and nowhere else: how many of `operations`, as many as
        fit; 0 where the chain does not end there any more."""
        settled = self._fitting(operations, start)
        if self.refresh() != start or not self.log.commit(self._transaction(start, settled, view)):
            return 0
        self.refresh()
        return len(settled)

    def _try(self, operations: Sequence[Operation]) -> list[Outcome] | None:
        """Outcomes of the first of `operations`, as many as fit one transaction; None: the race was lost."""
        start = self.refresh()
        settled = self._fitting(operations, start)
        writing = [each for each in settled if each.writes]
        if writing and not self.log.commit(self._transaction(start, writing)):
            return None
        at("said")
        self.refresh()
        places = iter(range(start, start + len(writing)))
        return [
            Outcome(s.operation.id, s.status, len(s.increments), next(places) if s.writes else None) for s in settled
        ]

    def _fitting(self, operations: Sequence[Operation], start: int) -> list[_Settled]:
        """A transaction never crosses a segment's end."""
        out: list[_Settled] = []
        segment = segment_size(self.log.storage) or 1           # not settled yet: one alone crosses none
        size, free = 0, segment - start % segment
        draft = _Draft(self)
        for operation in operations:
            settled = draft.settle(operation)
            size += len(settled.increments)
            free -= settled.writes
            if out and (size > MAX_INCREMENTS or free < 0):
                break
            draft.keep(settled)
            out.append(settled)
        return out

    def _transaction(
        self, start: int, writing: Sequence[_Settled], view: Mapping[str, int] | None = None
    ) -> Transaction:
        stream = self.log.stream
        contributions, records = [], []
        letters: list[DeadLetter] = []
        for position, settled in enumerate(writing, start):
            place, operation = Place(stream, PARTITION, position), settled.operation
            origin = operation.origin or operation.id
            contributions.append((place, Contribution(origin, settled.increments)))
            records.append({
                "stream": stream, "partition": PARTITION, "offset": position, "op": operation.op.value,
                "id": operation.id, "digest": operation.digest,
                "meta": json.dumps(dict(operation.meta), ensure_ascii=False, sort_keys=True),
            })
            if operation.letter is not None:
                letters.append(replace(operation.letter, place=place))
        tables = {TABLE: pa.Table.from_pylist(records, SCHEMA), "memory_log": rows.memory_log(contributions)}
        if letters:
            tables["dead_letters"] = rows.to_tables([], letters, [], stream, "")["dead_letters"]
        return Transaction(stream, PARTITION, start, start + len(writing), dict(view or {}), "engram", tables)


class _Draft:
    """The state of a chain while a transaction is put together: operations before it and those already in it."""

    def __init__(self, chain: Operations) -> None:
        self._chain = chain
        self._added: dict[str, _Settled] = {}
        self._withdrawn: set[str] = set()
        self._noted: set[str] = set()

    def settle(self, operation: Operation) -> _Settled:
        id = operation.id
        gone = id in self._withdrawn or id in self._chain._withdrawn
        if operation.op is Op.NOTE:
            said = id in self._noted or id in self._chain._noted
            return _Settled(operation, Status.DUPLICATE) if said else \
                _Settled(operation, Status.NOTED, operation.increments)
        if operation.op is Op.WITHDRAW:
            if gone:
                return _Settled(operation, Status.DUPLICATE)
            had = self._had(id)
            if had is None:
                return _Settled(operation, Status.EARLY)
            return _Settled(operation, Status.UNDONE, tuple(i.negated() for i in had))
        digest = self._digest(id)
        if digest is not None and digest != operation.digest:
            return _Settled(operation, Status.CONFLICT)
        if gone:
            return _Settled(operation, Status.WITHDRAWN)
        if digest is not None:
            return _Settled(operation, Status.DUPLICATE)
        return _Settled(operation, Status.ADDED, total([Contribution(id, operation.increments)]))

    def keep(self, settled: _Settled) -> None:
        if settled.status is Status.ADDED:
            self._added[settled.operation.id] = settled
        elif settled.status in (Status.UNDONE, Status.EARLY):
            self._withdrawn.add(settled.operation.id)
        elif settled.status is Status.NOTED:
            self._noted.add(settled.operation.id)

    def _had(self, id: str) -> tuple[Increment, ...] | None:
        if id in self._added:
            return self._added[id].increments
        return self._chain.increments(id) if id in self._chain._added else None

    def _digest(self, id: str) -> str | None:
        if id in self._added:
            return self._added[id].operation.digest
        return self._chain._added[id].digest if id in self._chain._added else None


def entries(transaction: Transaction) -> list[Entry]:
    """The operations of one transaction in order."""
    return [
        Entry(row["offset"], Op(row["op"]), row["id"], row["digest"], json.loads(row["meta"]))
        for row in transaction.tables[TABLE].to_pylist()
    ]
