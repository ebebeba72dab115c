"""Overlapping windows over a long text, cut at sentence ends; every character lies in at least one.

Neighbours share at least OVERLAP words where half a window allows it.  A span that lies in two windows is scored
by the one that shows more context on its nearer side: with `a` before `b`, the span of words i..j belongs to `a`
where ``i + j <= a.last + b.first`` (its distance to a's end is no less than that to b's beginning).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.words import Words

OVERLAP = 32
"""Words; more than any scheme's longest span, so that every span lies whole in some window."""
BUCKET = 32
"""Tokens; padded lengths are multiples of it."""


@dataclass(frozen=True, slots=True)
class Window:
    """Words first..last (exclusive), the tokens that hold them, and the characters they stand for."""

    first: int
    last: int
    first_token: int
    last_token: int
    start: int
    end: int

    def padded(self, specials: int) -> int:
        """Tokens to pad to: of this window alone, so that its result does not depend on its neighbours in a batch.

        Room for its words too: several may share a token (one that the tokeniser does not know, say).
        """
        room = max(self.last_token - self.first_token + specials, self.last - self.first)
        return -(-room // BUCKET) * BUCKET


def cut(words: Words, first_token: np.ndarray, last_token: np.ndarray, limit: int, characters: int) -> list[Window]:
    """Windows of at most `limit` tokens (special ones not counted) and `limit` words.

    `first_token`, `last_token`: int [words], the tokens that hold each word, end exclusive, both rising.
    A single word of more than `limit` tokens keeps its first `limit`.  A text without words is one empty window.
    """
    count = len(words)
    if count == 0:
        return [Window(0, 0, 0, 0, 0, characters)]
    windows: list[Window] = []
    first = last = 0
    while True:
        last = _last(words, first_token, last_token, first, last, limit)
        tokens = (int(first_token[first]), min(int(last_token[last - 1]), int(first_token[first]) + limit))
        start = 0 if first == 0 else int(words.offsets[first, 0])
        end = characters if last == count else int(words.offsets[last, 0])
        windows.append(Window(first, last, *tokens, start, end))
        if last == count:
            return windows
        needed = int(np.searchsorted(first_token, last_token[last] - limit))  # so that word `last` fits too
        first = max(_next(words, first, last), min(needed, last))


def _last(
    words: Words, first_token: np.ndarray, last_token: np.ndarray, first: int, beyond: int, limit: int
) -> int:
    """The word after the last that fits: at a sentence's end `beyond` a word, where that keeps half of what fits."""
    fits = int(np.searchsorted(last_token, first_token[first] + limit, side="right"))
    fits = min(max(fits, first + 1), first + limit)
    if fits >= len(words):
        return len(words)
    ends = words.sentences[:, 1]
    at = int(np.searchsorted(ends, fits, side="right")) - 1
    return int(ends[at]) if at >= 0 and ends[at] >= max((first + fits + 1) // 2, beyond + 1) else fits


def _next(words: Words, first: int, last: int) -> int:
    """Where the next window begins: at a sentence's beginning near OVERLAP words before `last`."""
    wanted = max(last - OVERLAP, (first + last + 1) // 2, first + 1)
    begins = words.sentences[:, 0]
    at = int(begins[np.searchsorted(begins, wanted, side="right") - 1])
    near = max(wanted - OVERLAP, (first + last + 1) // 2, first + 1)
    return at if at >= near else wanted


def characters_read(windows: Sequence[Window]) -> int:
    """Characters that lie in at least one window."""
    total = reached = 0
    for window in windows:
        total += max(0, window.end - max(window.start, reached))
        reached = max(reached, window.end)
    return total


def owners(windows: Sequence[Window]) -> Iterator[tuple[int, int]]:
    """For each window the range of i + j (end exclusive) of the spans i..j that it scores; the ranges join."""
    low = 0
    for at, window in enumerate(windows):
        high = window.last + windows[at + 1].first + 1 if at + 1 < len(windows) else 2 * window.last
        yield low, high
        low = high
