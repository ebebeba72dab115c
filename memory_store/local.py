"""A memory in this process: for tests, `Extractor` without a pipeline, and runs that rebuild it from the log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator, Sequence

from kie_ops.memory import Cell, Increment, Recall
from memory_store.cells import added, check_namespace, fields, readable_cell, summed
from memory_store.store import ERASURES, Applied, Stats

_SAMPLE = 1_000


class LocalStore:
    """MemoryStore in a dictionary.  Safe among threads; cells are replaced, never changed, so a recall stays."""

    def __init__(self, namespace: str = "local") -> None:
        self.namespace = check_namespace(namespace)
        self._cells: dict[str, Cell] = {}  # in order of creation
        self._positions: dict[str, int] = {}
        self._lock = threading.RLock()

    def recall(self, keys: Collection[str]) -> Recall:
        with self._lock:
            found = {key: readable_cell(cell) for key in keys if (cell := self._cells.get(key)) is not None}
            return Recall(found, dict(self._positions))

    def positions(self) -> dict[str, int]:
        with self._lock:
            return dict(self._positions)

    def apply(
        self, chain: str, start: int, end: int, increments: Sequence[Increment], *, erasures: int
    ) -> Applied:
        sums = summed(increments)
        with self._lock:
            if self._positions.get(ERASURES, 0) != erasures:
                return Applied.STALE
            return self._advance(chain, start, end, sums)

    def erase(self, position: int, end: int, chain: str, offset: int, inverse: Sequence[Increment]) -> Applied:
        sums = summed(inverse)
        with self._lock:
            beyond = self._positions.get(chain, 0) > offset
            return self._advance(ERASURES, position, end, sums if beyond else {})

    def _advance(self, chain: str, start: int, end: int, sums: dict[str, list[Increment]]) -> Applied:
        at = self._positions.get(chain, 0)
        if at != start:
            return Applied.SKIPPED if at >= end else Applied.BEHIND
        new = {key: added(self._cells.get(key) or Cell(key, {}), sums[key]) for key in sums}  # may raise
        for key, cell in new.items():
            if cell.counts or cell.vectors:
                self._cells[key] = cell
            else:
                self._cells.pop(key, None)
        self._positions[chain] = end
        return Applied.APPLIED

    def cells(self) -> Iterator[Cell]:
        with self._lock:
            now = list(self._cells.values())
        return iter(sorted(now, key=lambda cell: cell.key))

    def by_age(self) -> Iterator[Cell]:
        with self._lock:
            return iter(list(self._cells.values()))

    def stats(self) -> Stats:
        with self._lock:
            sample = [self._cells[key] for key, _ in zip(self._cells, range(_SAMPLE), strict=False)]
            mean = sum(map(_size, sample)) / len(sample) if sample else 0.0
            count = len(self._cells)
            return Stats(count, fields(self._cells), int(mean * count), count, dict(self._positions))

    def clear(self) -> None:
        with self._lock:
            self._cells.clear()
            self._positions.clear()

    def compact(self) -> bool:
        return True

    def forget_positions(self) -> None:
        """Keeps the cells but stands at the beginning of every chain: for a memory made from a file."""
        with self._lock:
            self._positions.clear()

    def close(self) -> None:
        """Nothing to close."""


def _size(cell: Cell) -> int:
    parts = (cell, cell.key, cell.counts, cell.vectors, *cell.counts, *cell.vectors.values())
    return sum(map(sys.getsizeof, parts))
