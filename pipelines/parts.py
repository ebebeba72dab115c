"""What stretches of a chain add to memory: from the log where it still lies there, else from memory_log.

Small transactions are joined and large segments cut, so that each part is one short step of a memory.  Positions
between documents are as good as those between transactions: whoever catches up next filters by offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kie_ops.memory import Contribution, Increment, total
from kie_ops.schemas import MEMORY_LOG
from pipelines import rows
from pipelines.commit_log import Log
from pipelines.publisher import kept_increments
from pipelines.tombstones import Tombstones
from pipelines.transaction import Transaction

MAX_INCREMENTS = 6_000
"""Increments of one step at most, unless one document or operation alone has more."""


@dataclass(frozen=True, slots=True)
class Part:
    """What ``[start, end)`` of a chain adds to memory, summed."""

    start: int
    end: int
    increments: tuple[Increment, ...]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows of memory_log of ``[start, end)``, in order of offset."""

    start: int
    end: int
    table: pa.Table


def parts(log: Log, position: int, end: int, tombstones: Tombstones) -> Iterator[Part]:
    """Contiguous parts of ``[position, end)`` of a chain, without erased documents.

    Raises FileNotFoundError where a trim takes files away meanwhile: then start again from where memory stands.
    """
    held: list[_Stretch] = []
    size = 0
    for stretch in _cut(_stretches(log, position, end), tombstones):
        if held and size + len(stretch.table) > MAX_INCREMENTS:
            yield _joined(held)
            held, size = [], 0
        held.append(stretch)
        size += len(stretch.table)
    if held:
        yield _joined(held)


def contribution(log: Log, offset: int) -> tuple[Increment, ...]:
    """What the document or operation at `offset` added to memory, whether it was erased since or not.

    Raises FileNotFoundError where nothing was committed there.
    """
    while True:
        floor = log.floor()
        try:
            return tuple(i for stretch in _stretches(log, offset, offset + 1) for i in rows.increments(stretch.table))
        except FileNotFoundError:
            if log.floor() == floor:
                raise                                               # else it was trimmed meanwhile: look below


def by_offset(transaction: Transaction) -> Iterator[tuple[int, list[Increment]]]:
    """The increments of each document or operation of a transaction that has any."""
    for place, each in rows.contributions(transaction.rows("memory_log")):
        yield place.offset, list(each.increments)


def _joined(held: list[_Stretch]) -> Part:
    table = pa.concat_tables([stretch.table for stretch in held])
    return Part(held[0].start, held[-1].end, total([Contribution("", tuple(rows.increments(table)))]))


def _cut(stretches: Iterator[_Stretch], tombstones: Tombstones) -> Iterator[_Stretch]:
    """Without erased documents, and cut between documents where there is more than one step's worth."""
    for stretch in stretches:
        table = tombstones.scrub(stretch.table)
        start, offsets, first = stretch.start, table["offset"].to_numpy(), 0
        while len(offsets) - first > MAX_INCREMENTS:
            stop = int(offsets[first + MAX_INCREMENTS])             # the document that would be cut in two
            if stop == offsets[first]:
                stop += 1                                           # it alone is more than a step's worth
            last = int(np.searchsorted(offsets, stop))
            if stop >= stretch.end:
                break
            yield _Stretch(start, stop, table.slice(first, last - first))
            start, first = stop, last
        yield _Stretch(start, stretch.end, table.slice(first))


def _stretches(log: Log, position: int, end: int) -> Iterator[_Stretch]:
    """As they were written: kept segments below the floor, transactions above."""
    begin, floor = log.begin(), log.floor()
    if position < begin:
        yield _Stretch(position, min(begin, end), MEMORY_LOG.empty_table())
        position = begin
    if position < min(floor, end):
        for start, stop, table in kept_increments(log, position, min(floor, end)):
            yield _Stretch(start, stop, table)
        position = min(floor, end)
    if position < end:
        for transaction in log.transactions(_start_of(log, position), end):
            yield _within(transaction, position, end)
            position = min(transaction.end, end)
    if position < end:
        raise FileNotFoundError(f"{log.chain}/{position}")


def _start_of(log: Log, position: int) -> int:
    """Where the transaction starts that holds `position`: mostly there."""
    if log.holds(position):
        return position
    start = max((s for s in log.starts() if s <= position), default=None)
    if start is None:
        raise FileNotFoundError(f"{log.chain}/{position}")
    return start


def _within(transaction: Transaction, position: int, end: int) -> _Stretch:
    start, stop = max(transaction.start, position), min(transaction.end, end)
    table = transaction.rows("memory_log")
    if (start, stop) != (transaction.start, transaction.end):
        offsets = table["offset"]
        table = table.filter(pc.and_(pc.greater_equal(offsets, start), pc.less(offsets, stop)))
    return _Stretch(start, stop, table)
