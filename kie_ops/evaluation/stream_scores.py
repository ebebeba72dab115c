"""Strict counts of one read document: memory off, the strong dictionary, memory on, and on from a wanted precision."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.evaluation import calibration, dictionary
from kie_ops.evaluation.standing import DICTIONARY, OFF, ON, f1_of
from kie_ops.evaluation.streams import KINDS, Match, Read, Seen, Stream

CUT = "on, cut"
"""Memory on, only spans from their label's threshold for the wanted precision on."""
MODES = (OFF, DICTIONARY, ON, CUT)
GRID = (*np.round(np.arange(0.05, 1.01, 0.05), 2).tolist(), 1.01)
Spans = set[tuple[int, int, str]]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Settings found on dev: the dictionary's share of positive counts, and scores by label (None: emit nothing).

    `own`: whether the dictionary counts what the stream wrote itself.
    """

    dictionary: float
    labels: Mapping[str, float | None]
    own: bool = True


@dataclass(frozen=True)
class Counted:
    """`counts` [modes, 3]: true positives, predicted, gold.  `found` [modes, kinds], `gold` [kinds]: mentions by kind.

    `scores`, `right`, `labels`: of the spans that memory on emits.
    """

    counts: np.ndarray
    found: np.ndarray
    gold: np.ndarray
    scores: tuple[float, ...]
    right: tuple[bool, ...]
    labels: tuple[str, ...]


def gold_of(read: Read, labels: Sequence[str]) -> Spans:
    return {(s.start, s.end, s.label) for s in read.example.spans if s.label in labels}


def count(stream: Stream, seen: Seen, cuts: Cuts) -> Counted:
    """What is right in each mode."""
    read = stream.reads[seen.number]
    gold, by_mode = gold_of(read, stream.labels), spans(stream, seen, cuts)
    counts = np.array([[len(p & gold), len(p), len(gold)] for p in by_mode.values()], dtype=np.int64)
    kinds = {(*read.sketch.span(m.first, m.last), m.label): KINDS.index(k)
             for m, k in zip(read.gold, seen.kinds, strict=True)}
    found = np.zeros((len(MODES), len(KINDS)), dtype=np.int64)
    total = np.zeros(len(KINDS), dtype=np.int64)
    for span, kind in kinds.items():
        total[kind] += 1
        for n, predicted in enumerate(by_mode.values()):
            found[n, kind] += span in predicted
    right = tuple((*read.sketch.span(d.first, d.last), d.label) in gold for d in seen.chosen)
    return Counted(counts, found, total, tuple(d.score for d in seen.chosen), right,
                   tuple(d.label for d in seen.chosen))


def spans(stream: Stream, seen: Seen, cuts: Cuts) -> dict[str, Spans]:
    """Predicted spans by mode, in characters."""
    read = stream.reads[seen.number]
    at = read.sketch.span
    alone = read.alone.only(stream.labels)
    joined = dictionary.joined(alone, list(seen.matches if cuts.own else seen.others), cuts.dictionary)
    on = {(*at(d.first, d.last), d.label) for d in seen.chosen}
    lowest = {y: 2.0 if cut is None else cut for y, cut in cuts.labels.items()}
    return {
        OFF: {(*at(d.first, d.last), d.label) for d in alone.chosen},
        DICTIONARY: {(*at(f, e), y) for f, e, y in joined}, ON: on,
        CUT: {(*at(d.first, d.last), d.label) for d in seen.chosen if d.score >= lowest.get(d.label, 0.0)},
    }


def tuned(stream: Stream, runs: Sequence[Sequence[Seen]], precision: float | None = None) -> Cuts:
    """The settings with which a dev stream, read as the scored one will be, does best.

    The dictionary's share is the one of GRID with the best F1 over all runs, the highest of equals; and it counts what
    the stream wrote itself, or does not, whichever is better.
    """
    best, share, own = -1.0, 0.5, True
    for each, mine in itertools.product(GRID, (False, True)):
        counts = [_plain(stream, s.number, s.matches if mine else s.others, each) for run in runs for s in run]
        f1 = float(f1_of(sum(counts, np.zeros(3, dtype=np.int64))))
        if f1 >= best:
            best, share, own = f1, each, mine
    if precision is None:
        return Cuts(share, {}, own)
    rows = [count(stream, s, Cuts(share, {})) for run in runs for s in run]
    scores, right = np.array([x for r in rows for x in r.scores]), np.array([x for r in rows for x in r.right])
    of = np.array([x for r in rows for x in r.labels])
    cuts = {y: calibration.cut_for(scores[of == y], right[of == y], precision) for y in stream.labels}
    return Cuts(share, cuts, own)


def _plain(stream: Stream, number: int, matches: Sequence[Match], share: float) -> np.ndarray:
    read = stream.reads[number]
    joined = dictionary.joined(read.alone.only(stream.labels), list(matches), share)
    predicted = Counter((*read.sketch.span(f, e), y) for f, e, y in joined)
    gold = gold_of(read, stream.labels)
    return np.array([sum(s in gold for s in predicted), len(predicted), len(gold)], dtype=np.int64)
