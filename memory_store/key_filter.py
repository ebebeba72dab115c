"""Which keys exist in a memory, as this process knows it: n-grams that nothing is known of cost no round trip.

A set of 64-bit hashes kept fresh from the memory's version log, whose entries are only ever added at its end.  It may
say yes to a key whose cell is gone, never no to one that exists as far as the log was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

_MERGE_AT = 1 << 16
"""New hashes wait in a Python set (fast to add to, some 90 bytes each) until so many are sorted in (8 bytes each)."""
_MARKS = 8
"""Marks a hash, at least: a byte at its lowest bits lets one absent key in eight through, before the exact look-up."""


class KeyFilter:
    """`epoch`, `known` (entries of the version log read) and the last one's token tell which log this has read."""

    def __init__(self) -> None:
        self.reset(None)

    def reset(self, epoch: str | None) -> None:
        self.epoch = epoch
        self.known = 0
        self._last: str | None = None
        self._sorted = np.empty(0, dtype=np.int64)
        self._recent: set[int] = set()
        self._marks = np.zeros(1 << 10, dtype=bool)

    def __len__(self) -> int:
        """Hashes held; a key that came again may be held twice for a while."""
        return len(self._sorted) + len(self._recent)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._sorted.nbytes + self._marks.nbytes + 90 * len(self._recent)

    def may_contain(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that may exist.  Python's own hash of a text: 64 bits, and good within this process."""
        keys = list(keys)
        if not keys or not len(self):
            return []
        hashes = np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys))
        marked = np.flatnonzero(self._marks[hashes & (len(self._marks) - 1)])
        hashes = hashes[marked]
        hit = np.zeros(len(marked), dtype=bool)
        if len(self._sorted):
            at = np.searchsorted(self._sorted, hashes)
            hit = self._sorted[np.minimum(at, len(self._sorted) - 1)] == hashes
        if self._recent and (recent := self._recent.intersection(hashes.tolist())):
            hit |= np.isin(hashes, np.fromiter(recent, dtype=np.int64, count=len(recent)))
        return [keys[n] for n in marked[hit].tolist()]

    def follow(self, epoch: str | None, length: int, entries: Sequence[bytes]) -> set[str] | None:
        """Takes in what a read gave: the log's epoch, its length, and its entries from the last known one on.

        The new keys; None where this is another log than the one read so far (wiped, cleared, restored from an older
        copy): the filter is empty then, and the caller reads again from its start.
        """
        if self.known == 0:
            self.epoch = epoch
        if epoch != self.epoch or length < self.known:
            self.reset(epoch)
            return None
        parsed = [json.loads(entry) for entry in entries]
        if self.known:
            # A suffix lost in a crash may have been written anew: the token is of one application, so the same token
            # in the same place means the same log up to there.
            if not parsed or parsed[0][0] != self._last:
                self.reset(epoch)
                return None
            parsed = parsed[1:]
        new = {key for _, *keys in parsed for key in keys}
        if parsed:
            self.known += len(parsed)
            self._last = parsed[-1][0]
            self._add(new)
        return new

    def _add(self, keys: Iterable[str]) -> None:
        new = np.fromiter(map(hash, keys), dtype=np.int64)
        self._recent.update(new.tolist())
        if len(self) * _MARKS > len(self._marks):
            self._marks = np.zeros(1 << (2 * len(self) * _MARKS - 1).bit_length(), dtype=bool)
            self._mark(self._sorted)
            new = np.fromiter(self._recent, dtype=np.int64, count=len(self._recent))
        self._mark(new)
        if len(self._recent) >= max(_MERGE_AT, len(self._sorted) >> 3):
            recent = np.fromiter(self._recent, dtype=np.int64, count=len(self._recent))
            self._sorted = np.union1d(self._sorted, recent)
            self._recent = set()

    def _mark(self, hashes: np.ndarray) -> None:
        self._marks[hashes & (len(self._marks) - 1)] = True
