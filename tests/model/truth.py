"""What the world should be, kept beside the code: what was committed, and by plain addition what follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow as pa

from kie_ops.memory import Contribution
from kie_ops.records import Document, Place, RawRecord
from memory_store.store import ERASURES
from pipelines.transaction import Transaction, decode
from tests.pipelines.ledger_world import taught
from tests.pipelines.worker_fakes import STREAM, FakeExtractor

CORRECTIONS, EVICTIONS = "corrections/0", "evictions/0"
Counts = dict[str, dict[str, int]]
Row = tuple[int, str]
"""Offset and all of a row, as text."""


@dataclass(frozen=True)
class Committed:
    """A transaction as it was when it was committed, with its rows by table."""

    end: int
    transaction: Transaction
    rows: Mapping[str, frozenset[Row]]


@dataclass
class Truth:
    """`chains`: every transaction ever committed, also where its file is trimmed or its rows are erased."""

    records: Mapping[int, Sequence[RawRecord]]
    chains: dict[str, dict[int, Committed]] = field(default_factory=dict)
    floors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    forgotten: set[Place] = field(default_factory=set)
    """Places whose erasure has returned to its caller."""

    def __post_init__(self) -> None:
        self.documents = {record.place: document for found in self.records.values() for record in found
                          if (document := _document(record)) is not None}

    def end(self, chain: str) -> int:
        committed = self.chains.get(chain)
        return max(c.end for c in committed.values()) if committed else self.floors.get(chain, (0, 0, 0))[0]

    def ends(self) -> dict[str, int]:
        return {chain: self.end(chain) for chain in self.chains}

    def inputs(self) -> dict[str, int]:
        """Where the chains end when everything has been read."""
        return {f"{STREAM}/{p}": found[-1].place.offset + 1 for p, found in self.records.items() if found}

    def erased(self, position: int) -> set[Place]:
        """Places whose tombstone lies below this position of the erasures chain."""
        return {Place(r["stream"], r["partition"], r["offset"])
                for r in self._rows(ERASURES, "tombstones", position)}

    def memory(self, view: Mapping[str, int]) -> Counts:
        """The sum of contributions below `view` without the documents whose erasure it knows."""
        cells: dict[tuple[str, str], int] = {}
        gone = self.erased(view.get(ERASURES, 0))
        for place, document in self.documents.items():
            if place.offset < view.get(place.chain, 0) and place not in gone:
                _add(cells, contribution(document), 1)
        for id in self.taught(view.get(CORRECTIONS, 0)):
            _add(cells, taught(id), 1)
        for row in self._rows(EVICTIONS, "memory_log", view.get(EVICTIONS, 0)):
            if Place("evictions", 0, row["offset"]) not in gone:
                at = (row["key"], row["field"])
                cells[at] = cells.get(at, 0) + row["count"]
        counts: Counts = {}
        for (key, name), count in cells.items():
            if count:
                counts.setdefault(key, {})[name] = count
        return counts

    def taught(self, position: int) -> set[str]:
        """Ids added minus ids withdrawn below this position of the corrections chain."""
        said: dict[str, set[str]] = {"add": set(), "withdraw": set()}
        for row in self._rows(CORRECTIONS, "operations", position):
            said[row["op"]].add(row["id"])
        return said["add"] - said["withdraw"]

    def _rows(self, chain: str, table: str, position: int) -> Iterator[dict[str, Any]]:
        for start, committed in self.chains.get(chain, {}).items():
            if start < position and table in committed.transaction.tables:
                for row in plain(committed.transaction.tables[table]):
                    if table == "tombstones" or row["offset"] < position:    # one tombstone a transaction
                        yield row


def _add(cells: dict[tuple[str, str], int], contribution: Contribution, sign: int) -> None:
    for i in contribution.increments:
        cells[i.key, i.field] = cells.get((i.key, i.field), 0) + sign * i.count


def _document(record: RawRecord) -> Document | None:
    try:
        fields = json.loads(record.value or b"")
    except ValueError:
        return None
    return Document(fields["doc_id"], fields["text"], place=record.place)


def contribution(document: Document) -> Contribution:
    extractor = FakeExtractor()
    return extractor.contribution(extractor.encode([document])[0])


_plain: dict[int, tuple[pa.Table, list[dict[str, Any]]]] = {}


def plain(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of a table that is kept anyway, once."""
    found = _plain.get(id(table))
    if found is None:
        found = _plain[id(table)] = table, table.to_pylist()
    return found[1]


@lru_cache(maxsize=4096)
def committed(data: bytes) -> Committed:
    transaction = decode(data, "model")
    return Committed(transaction.end, transaction, {n: rows(t) for n, t in transaction.tables.items()})


def rows(table: pa.Table) -> frozenset[Row]:
    """Rows with places; `domain` stands in paths."""
    if "offset" not in table.column_names:
        return frozenset()
    return frozenset((row["offset"], repr({k: v for k, v in sorted(row.items()) if k != "domain"}))
                     for row in table.to_pylist())
