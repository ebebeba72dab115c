"""From scored spans to mentions: the best set without overlaps, by weighted interval scheduling.

A span's weight is its probability minus the threshold: the set with the largest sum is the one with the largest
expected gain.  Ties go to the longer, then the earlier span, then the label that comes first.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np


def decode(
    first: np.ndarray, last: np.ndarray, label: np.ndarray, score: np.ndarray, threshold: float, *, nested: bool = False
) -> list[int]:
    """Indices of the chosen candidates, in order of (first, last, label).

    `first`, `last` (words, inclusive), `label` and `score` (probability) are arrays of equal length.  With `nested`,
    spans of one label still exclude each other; those of different labels may be equal or lie in each other.
    """
    likely = np.flatnonzero(score >= threshold).tolist()
    if not nested:
        picked = _schedule(likely, first, last, label, score, threshold)
    else:
        by_label: dict[int, list[int]] = {}
        for i in likely:
            by_label.setdefault(int(label[i]), []).append(i)
        picked = _uncrossed(
            [i for group in by_label.values() for i in _schedule(group, first, last, label, score, threshold)],
            first, last, label, score,
        )
    return sorted(picked, key=lambda i: (int(first[i]), int(last[i]), int(label[i])))


def _schedule(
    some: list[int], first: np.ndarray, last: np.ndarray, label: np.ndarray, score: np.ndarray, threshold: float
) -> list[int]:
    """Weighted interval scheduling (Kleinberg and Tardos, Algorithm Design, 6.1) in O(n log n)."""
    some = sorted(some, key=lambda i: (int(last[i]), -int(first[i]), -float(score[i]), int(label[i])))
    ends = [int(last[i]) for i in some]
    totals: list[tuple[float, int]] = [(0.0, 0)]  # weight, words covered: more words win a tie
    take: list[bool] = []
    before: list[int] = []
    for n, i in enumerate(some):
        p = bisect_right(ends, int(first[i]) - 1, 0, n)
        weight, covered = totals[p]
        with_it = (weight + float(score[i]) - threshold, covered + int(last[i]) - int(first[i]) + 1)
        before.append(p)
        take.append(_better(with_it, totals[n]))
        totals.append(with_it if take[-1] else totals[n])
    out, n = [], len(some)
    while n:
        if take[n - 1]:
            out.append(some[n - 1])
            n = before[n - 1]
        else:
            n -= 1
    return out


def _better(new: tuple[float, int], old: tuple[float, int]) -> bool:
    return (round(new[0], 12), new[1]) > (round(old[0], 12), old[1])


def _uncrossed(
    some: list[int], first: np.ndarray, last: np.ndarray, label: np.ndarray, score: np.ndarray
) -> list[int]:
    """The likeliest first; each that crosses none chosen before."""
    out: list[int] = []
    by_word: dict[int, list[int]] = {}
    for i in sorted(some, key=lambda i: (-float(score[i]), int(first[i] - last[i]), int(first[i]), int(label[i]))):
        f, e = int(first[i]), int(last[i])
        near = {j for word in range(f, e + 1) for j in by_word.get(word, ())}
        if not any(first[j] < f <= last[j] < e or f < first[j] <= e < last[j] for j in near):
            out.append(i)
            for word in range(f, e + 1):
                by_word.setdefault(word, []).append(i)
    return out
