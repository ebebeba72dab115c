"""Recalled cells plus the contributions of earlier documents in the batch: what the next document is read with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Contribution, Increment


class Overlay(Mapping[str, Cell]):
    """A mapping of cells like those a memory recalls.

    Increments are added to a copy of the cells they touch, so what a document is read with is the same whether the
    documents before it are in memory already or in its own batch.
    """

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self._below = cells
        self._own: dict[str, Cell] = {}

    def add(self, contribution: Contribution) -> None:
        """Adds what an earlier document of the batch contributes."""
        for key, increments in _by_key(contribution.increments).items():
            self._own[key] = added(self.get(key), key, increments)

    def only(self, keys: Collection[str]) -> dict[str, Cell]:
        """The cells of those of `keys` that exist: what a memory would recall for one document."""
        return {key: cell for key in keys if (cell := self.get(key)) is not None}

    def __getitem__(self, key: str) -> Cell:
        cell = self._own[key] if key in self._own else self._below[key]
        if not cell.counts and not cell.vectors:
            raise KeyError(key)
        return cell

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        yield from (k for k in self._below if k not in self._own)
        yield from (k for k, cell in self._own.items() if cell.counts or cell.vectors)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def added(cell: Cell | None, key: str, increments: Iterable[Increment]) -> Cell:
    """`cell` (None: an empty one) with increments of its key added; fields whose sum is zero are absent."""
    counts = dict(cell.counts) if cell else {}
    vectors = dict(cell.vectors) if cell else {}
    for i in increments:
        total = counts.pop(i.field, 0) + i.count
        if total:
            counts[i.field] = total
        if i.vector is not None:
            packed = vectors.pop(i.field, bytes(4 * PROTOTYPE_WIDTH))
            summed = np.frombuffer(packed, dtype="<i4").astype(np.int64) + np.array(i.vector, dtype=np.int64)
            if summed.any():
                vectors[i.field] = summed.astype("<i4").tobytes()
    return Cell(key, counts, vectors)


def _by_key(increments: Iterable[Increment]) -> dict[str, list[Increment]]:
    out: dict[str, list[Increment]] = {}
    for i in increments:
        out.setdefault(i.key, []).append(i)
    return out
