"""Spans worth deciding on: what the tagger finds possible, what memory knows, repeats and abbreviations.

The candidates of the text alone (tagger, repeats, abbreviations) come first and do not depend on memory; their features
are computed among themselves.  So a span's text score is the same whether memory is on or off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kie_ops.abbreviations import Abbreviation, abbreviations
from kie_ops.stems import bag
from kie_ops.surface import SHORT, WORD, Surfaces, back_off, written
from kie_ops.text_reading import SpanScores, TextReading

LOW = -4.0
"""Log-odds above which the tagger alone makes a span a candidate."""
SURE = 0.0
"""Log-odds above which a span's repeats in the document become candidates."""
BOUND = 12.0
"""Log-odds are cut to [-BOUND, BOUND]."""
FEATURES = ("own", "rival_label", "overlap", "sibling_best", "sibling_mean", "siblings", "width")
"""What the text says of a candidate: its log-odds; the best of another label on the same span, of an overlapping span,
and of the same surface elsewhere in the document (best, mean, log of their number); the log of its width in words.
The first five are log-odds (`own` where there is no such span for siblings, -BOUND for rivals)."""


class Names:
    """The surfaces of one document, with its abbreviations resolved to their long forms."""

    def __init__(self, reading: TextReading) -> None:
        self.reading = reading
        self.surfaces = Surfaces(reading.document.text, reading.words, reading.sentences)
        self._keys: dict[tuple[int, int], str | None] = {}

    @cached_property
    def abbreviations(self) -> tuple[Abbreviation, ...]:
        return abbreviations(self.surfaces)

    @cached_property
    def long_forms(self) -> dict[str, str]:
        """Key of the long form by key of the short form."""
        return {a.short_key: a.long_key for a in self.abbreviations}

    def raw_key(self, first: int, last: int) -> str | None:
        """The key of words `first`..`last` as they stand."""
        at = (first, last)
        if at not in self._keys:
            self._keys[at] = self.surfaces.key(first, last)
        return self._keys[at]

    def key(self, first: int, last: int) -> str | None:
        """The key of words `first`..`last`, a short form's being that of its long form."""
        raw = self.raw_key(first, last)
        return None if raw is None else self.long_forms.get(raw, raw)

    def back_off(self, first: int, last: int) -> tuple[str, ...]:
        """Further keys to look into for this span, besides `key`."""
        raw, key = self.raw_key(first, last), self.key(first, last)
        if raw is None or key is None:
            return ()
        return back_off(key) if raw == key else (*back_off(key), raw, *back_off(raw))

    def written(self, first: int, last: int) -> tuple[str, ...]:
        """The keys under which a mention of this span is counted."""
        raw, key = self.raw_key(first, last), self.key(first, last)
        if raw is None or key is None:
            return ()
        return written(key) if raw == key else (*written(key), SHORT + raw)

    def keys(self) -> set[str]:
        """All keys memory is asked for."""
        keys = {key for key, _, _ in self.surfaces.occurrences()}
        for short, long in self.long_forms.items():
            keys.update((long, short, *back_off(long), *back_off(short)))
        keys.update(SHORT + key for key in tuple(keys) if key.isalnum() and not key.islower())
        return keys | self._bags()

    def _bags(self) -> set[str]:
        """Bags of stems of the spans that the tagger finds possible: those alone are ever given a concept by them."""
        out: set[str] = set()
        for scores in self.reading.spans.values():
            likely = (scores.logits > LOW).any(axis=2) if scores.logits.size else np.zeros((0, 0), dtype=bool)
            for first, width in zip(*(a.tolist() for a in np.nonzero(likely)), strict=True):
                for key in {self.key(first, first + width), self.raw_key(first, first + width)}:
                    stems = bag(key) if key is not None else None
                    if stems is not None:
                        out.add(stems)
        return out

    def words(self, width: int = 1) -> Iterator[tuple[str, int, int]]:
        """(key, first, last) of phrases of `width` words that may be a name, as they stand; without short forms."""
        tokens = self.surfaces.tokens
        for begin, end in self.surfaces.sentences.tolist():
            for n in range(begin, end - width + 1):
                last = n + width - 1
                if tokens[n].edge and tokens[last].edge and all(t.kind == WORD for t in tokens[n : last + 1]):
                    key = self.raw_key(n, last)
                    if key is not None and key not in self.long_forms:
                        yield key, n, last

    def spans(self, wanted: Collection[str]) -> Iterator[tuple[str, int, int]]:
        """(key, first, last) of n-grams with a key or back-off key in `wanted`."""
        shorts = {
            short for short, long in self.long_forms.items() if any(k in wanted for k in (long, *back_off(long)))
        }
        shorts.update(key[len(SHORT) :] for key in wanted if key.startswith(SHORT))
        for key, first, last in self.surfaces.occurrences({*wanted, *shorts} if shorts else wanted):
            yield self.long_forms.get(key, key), first, last


@dataclass(frozen=True)
class Candidates:
    """Candidates of one scheme in order of (first, last, label); arrays of equal length.

    `first`, `last` are words (inclusive), `label` indexes `labels`, `features` is float64 [n, len(FEATURES)], `keys`
    the resolved keys, `remembered` whether only memory proposed the candidate.
    """

    scheme: str
    labels: tuple[str, ...]
    first: np.ndarray
    last: np.ndarray
    label: np.ndarray
    features: np.ndarray
    remembered: np.ndarray
    keys: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.first)

    def only(self, use: np.ndarray) -> Candidates:
        """Those of `use` (bool [n] or numbers), in that order; features stay as they are."""
        at = np.flatnonzero(use) if use.dtype == bool else use
        keys = tuple(self.keys[i] for i in at.tolist())
        return Candidates(self.scheme, self.labels, self.first[at], self.last[at], self.label[at], self.features[at],
                          self.remembered[at], keys)


def joined(parts: Sequence[Candidates]) -> tuple[Candidates, np.ndarray]:
    """Candidates of different labels as one, in order of (first, last, label), and their numbers in that order."""
    if len(parts) == 1:
        return parts[0], np.arange(len(parts[0]))
    labels = tuple(dict.fromkeys(label for p in parts for label in p.labels))
    numbers = [np.array([labels.index(y) for y in p.labels], dtype=np.int64)[p.label] for p in parts]
    first, last, features, remembered = (
        np.concatenate([getattr(p, n) for p in parts]) for n in ("first", "last", "features", "remembered")
    )
    label, keys = np.concatenate(numbers), tuple(k for p in parts for k in p.keys)
    order = np.lexsort((label, last, first))
    return Candidates(parts[0].scheme, labels, first, last, label, features, remembered, keys).only(order), order


def candidates(names: Names, scheme: str, known: Mapping[str, Collection[str]] | None = None) -> Candidates:
    """The candidates of one document in one scheme; `known`: labels by key that memory holds as entities."""
    scores = names.reading.spans[scheme]
    own = _text_rows(names, scores)
    more = memory_rows(names, scores.labels, known) - own if known else set()
    rows = np.array(sorted(own | more), dtype=np.int64).reshape(-1, 3)
    remembered = np.array([tuple(row) in more for row in rows.tolist()], dtype=bool)
    first, last, label = rows[:, 0], rows[:, 1], rows[:, 2]
    keys = tuple(names.key(f, e) for f, e in zip(first.tolist(), last.tolist(), strict=True))
    logits = _logits(scores, first, last, label)
    features = features_of(first, last, label, keys, logits, ~remembered, len(scores.labels))
    return Candidates(scheme, tuple(scores.labels), first, last, label, features, remembered, keys)


def _text_rows(names: Names, scores: SpanScores) -> set[tuple[int, int, int]]:
    """Candidates of the text alone: likely spans, and other places of what is sure."""
    first, width, label = np.nonzero(scores.logits > LOW)
    rows = set(zip(first.tolist(), (first + width).tolist(), label.tolist(), strict=True))
    sure: dict[str, set[int]] = {}
    for f, w, y in zip(*(a.tolist() for a in np.nonzero(scores.logits > SURE)), strict=True):
        key = names.key(f, f + w)
        if key is not None:
            sure.setdefault(key, set()).add(y)
    for key, f, e in names.spans(sure) if sure else ():
        rows.update((f, e, y) for y in sure.get(key, ()))
    for a in names.abbreviations:
        for y in sure.get(a.long_key, ()):
            rows.update({(a.long_first, a.long_last, y), (a.short_first, a.short_last, y)})
    return rows


def memory_rows(
    names: Names, labels: Sequence[str], known: Mapping[str, Collection[str]]
) -> set[tuple[int, int, int]]:
    """Candidates that memory proposes; shorter and longer ones alike."""
    number = {label: i for i, label in enumerate(labels)}
    rows: set[tuple[int, int, int]] = set()
    for _, f, e in names.spans(known):
        key = names.key(f, e)
        for probe in (key, *names.back_off(f, e)) if key else ():
            rows.update((f, e, number[label]) for label in known.get(probe, ()) if label in number)
    return rows


def _logits(scores: SpanScores, first: np.ndarray, last: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Log-odds of candidates, float64; -BOUND where the tagger has no score for so long a span."""
    width = last - first
    fits = width < scores.logits.shape[1]
    out = np.full(len(first), -BOUND)
    out[fits] = scores.logits[first[fits], width[fits], label[fits]]
    return np.clip(np.nan_to_num(out, nan=-BOUND, posinf=BOUND, neginf=-BOUND), -BOUND, BOUND)


def features_of(
    first: np.ndarray, last: np.ndarray, label: np.ndarray, keys: tuple[str | None, ...], own: np.ndarray,
    textual: np.ndarray, size: int,
) -> np.ndarray:
    """FEATURES of candidates of `size` labels; rivals and siblings are looked for among the `textual` ones only."""
    span = first * (1 << 20) + (last - first)
    groups: dict[tuple[str | None, int], int] = {}
    number = iter(range(len(first)))
    group = np.array(
        [groups.setdefault((k, y) if k is not None else (None, -1 - next(number)), len(groups))
         for k, y in zip(keys, label.tolist(), strict=True)], dtype=np.int64,
    )
    best, mean, count = _others(group, own, textual)
    overlap = _overlapping(first, last, span, own, textual)
    return np.stack([
        own, _rivals(span, label, size, own, textual), overlap, np.where(count > 0, best, own),
        np.where(count > 0, mean, own), np.log1p(count), np.log1p(last - first),
    ], axis=1)


def _others(group: np.ndarray, value: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best, mean and number of the values of the other used members of each one's group."""
    size = int(group.max()) + 1 if len(group) else 0
    total = np.bincount(group[use], weights=value[use], minlength=size)[group] - np.where(use, value, 0.0)
    count = np.bincount(group[use], minlength=size)[group] - use
    order = np.lexsort((value, group))
    order = order[use[order]]
    best, second = np.full(size, -BOUND), np.full(size, -BOUND)
    ends = np.flatnonzero(np.diff(group[order], append=-1)) if len(order) else order
    best[group[order[ends]]] = value[order[ends]]
    winner = np.full(size, -1)
    winner[group[order[ends]]] = order[ends]
    before = ends - 1
    same = (before >= 0) & (group[order[np.maximum(before, 0)]] == group[order[ends]]) if len(ends) else ends
    if len(ends):
        second[group[order[ends[same]]]] = value[order[before[same]]]
    mine = winner[group] == np.arange(len(group))
    return np.where(mine, second[group], best[group]), total / np.maximum(count, 1), count


def _rivals(span: np.ndarray, label: np.ndarray, size: int, own: np.ndarray, use: np.ndarray) -> np.ndarray:
    """The best value of another label on the same span."""
    if size < 2 or not len(span):
        return np.full(len(span), -BOUND)
    _, group = np.unique(span, return_inverse=True)
    best, _, count = _others(group, own, use)
    return np.where(count > 0, best, -BOUND)


def _overlapping(
    first: np.ndarray, last: np.ndarray, span: np.ndarray, own: np.ndarray, use: np.ndarray
) -> np.ndarray:
    """The best value of another span that shares a word."""
    out = np.full(len(first), -BOUND)
    if not use.any():
        return out
    spans, index = np.unique(span, return_inverse=True)
    value = np.full(len(spans), -BOUND - 1)
    np.maximum.at(value, index[use], own[use])
    rank = np.empty(len(spans), dtype=np.int64)
    order = np.lexsort((spans, value))
    rank[order] = np.arange(len(spans))
    starts, widths = spans >> 20, spans & ((1 << 20) - 1)
    words = int((starts + widths).max()) + 1
    top, second = np.full(words, -1), np.full(words, -1)
    for target in (top, second):
        for k in range(int(widths.max()) + 1):
            reach = widths >= k
            at, r = starts[reach] + k, rank[reach]
            if target is second:
                fresh = r != top[at]
                at, r = at[fresh], r[fresh]
            np.maximum.at(target, at, r)
    mine = rank[index]
    found = np.full(len(first), -1)
    for k in range(int(widths.max()) + 1):
        inside = last - first >= k
        at = (first + k)[inside]
        other = np.where(top[at] != mine[inside], top[at], second[at])
        found[inside] = np.maximum(found[inside], other)
    has = found >= 0
    out[has] = np.maximum(value[order[found[has]]], -BOUND)
    return out
