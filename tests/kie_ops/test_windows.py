"""Windows over long texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kie_ops.windows import BUCKET, OVERLAP, Window, characters_read, cut, owners
from kie_ops.words import Words


@st.composite
def texts(draw: st.DrawFn) -> tuple[Words, np.ndarray, np.ndarray, int]:
    """Words of 1-70 tokens (0 new ones where several share a token), random sentences, gaps of white space."""
    count = draw(st.integers(0, 400))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = draw(st.sampled_from([1, 3, 70]))
    lengths = random.integers(1, most + 1, count)
    last = np.cumsum(lengths)
    first = last - lengths
    if draw(st.booleans()):  # all words share one token
        first, last = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    starts = np.cumsum(random.integers(1, 4, count)) + 2 * np.arange(count)
    offsets = np.stack([starts, starts + 2], axis=1).astype(np.int32)
    borders = np.unique(np.concatenate([[0], random.integers(0, count + 1, count // 12), [count]]))
    sentences = np.stack([borders[:-1], borders[1:]], axis=1).astype(np.int32)
    characters = int(starts[-1]) + 5 if count else draw(st.integers(0, 9))
    return Words(offsets.reshape(-1, 2), sentences.reshape(-1, 2)), first, last, characters


@given(texts(), st.sampled_from([70, 128, 510]))
def test_windows_cover_everything_within_the_limit(text: tuple[Words, np.ndarray, np.ndarray, int], limit: int) -> None:
    words, first, last, characters = text
    windows = cut(words, first, last, limit, characters)
    assert characters_read(windows) == characters
    assert windows[0].first == 0
    assert windows[-1].last == len(words)
    for a, b in pairwise(windows):
        assert a.first < b.first <= a.last < b.last
        assert b.start <= a.end
    for w in windows:
        assert w.last - w.first <= limit
        assert w.last_token - w.first_token <= limit
        assert w.padded(2) % BUCKET == 0
        assert w.padded(2) >= max(w.last_token - w.first_token + 2, w.last - w.first)


@given(texts(), st.sampled_from([70, 128, 510]), st.integers(1, 24))
def test_every_short_span_has_one_owner_that_holds_it(
    text: tuple[Words, np.ndarray, np.ndarray, int], limit: int, length: int
) -> None:
    words, first, last, characters = text
    windows = cut(words, first, last, limit, characters)
    ranges = list(owners(windows))
    overlaps = [a.last - b.first for a, b in pairwise(windows)]
    for i in range(max(0, len(words) - length + 1)):
        j = i + length - 1
        mine = [k for k, (low, high) in enumerate(ranges) if low <= i + j < high]
        assert len(mine) == 1
        if min(overlaps, default=OVERLAP) >= length:
            assert windows[mine[0]].first <= i
            assert j < windows[mine[0]].last
            context = [min(i - w.first, w.last - 1 - j) for w in windows if w.first <= i and j < w.last]
            inner = [min(i - w.first if w.first else 999, w.last - 1 - j if w.last < len(words) else 999)
                     for w in windows if w.first <= i and j < w.last]
            w = windows[mine[0]]
            own = min(i - w.first if w.first else 999, w.last - 1 - j if w.last < len(words) else 999)
            assert len(context) > 2 or own >= max(inner) - 1


def test_windows_end_at_sentences_and_overlap() -> None:
    count = 1_000
    offsets = np.stack([np.arange(count) * 3, np.arange(count) * 3 + 2], axis=1).astype(np.int32)
    sentences = np.array([(a, a + 20) for a in range(0, count, 20)], dtype=np.int32)
    at = np.arange(count)
    windows = cut(Words(offsets, sentences), at, at + 1, 510, 3 * count)
    assert all(w.last % 20 == 0 and w.first % 20 == 0 for w in windows)
    assert all(a.last - b.first >= OVERLAP for a, b in pairwise(windows))


@pytest.mark.parametrize("characters", [0, 7])
def test_a_text_without_words_is_one_empty_window(characters: int) -> None:
    empty = Words(np.zeros((0, 2), dtype=np.int32), np.zeros((0, 2), dtype=np.int32))
    nothing = np.zeros(0, dtype=np.int64)
    assert cut(empty, nothing, nothing, 510, characters) == [Window(0, 0, 0, 0, 0, characters)]


def test_characters_read_counts_gaps_as_unread() -> None:
    assert characters_read([Window(0, 1, 0, 1, 0, 10), Window(1, 2, 1, 2, 15, 20)]) == 15
