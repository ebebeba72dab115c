"""Labels that no head was trained for, learnt from reviews: sums of integers, solved as ridge regression when read.

A review of a whole document adds, to one cell a scheme, the Gram sums XᵀX of its words' traits (small integers that
the encoder's inner states were projected to, see text_reading), and Xᵀy for three targets of each label: the word
begins a mention, lies in one, ends one.  These sums are all that ridge regression needs (Hoerl and Kennard 1970; sums
that can be added and taken away: Chambers 1971), so what was learnt is exact, independent of order, and forgets a
document as if it had never been seen.  No gradient steps.

The sums are kept in two halves, by hash of the document's id: a head solved on one half is measured on the other from
the sums alone (its squared error is a quadratic form of them).  So how far the head may be trusted is itself derived
from the memory, and a review's contribution does not depend on what memory held when it was made.

Fields of the cell `learnt_key(scheme)`, H a half (0, 1)::

    reviewer|scheme|gram|H|ROW                  vector: 64 entries of the upper triangle of XᵀX, row by row
    reviewer|scheme|cross|H|LABEL|TARGET|ROW    vector: 64 entries of Xᵀy
    reviewer|scheme|documents|H                 documents;  words|H: words;  mentions|H|LABEL: mentions
    reviewer|scheme|found|LABEL                 spans that the trained head found, memory off; right|LABEL: of these
                                                the right ones; expected|LABEL: a thousand times their sum of scores
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Increment, field, split_field
from kie_ops.text_reading import CONSTANT, TRAITS

SEPARATOR = "\x1f"
PREFIX = f"learnt{SEPARATOR}"
TARGETS = ("begin", "inside", "end")
HALVES = 2
RIDGE = 0.02
"""Penalty, as a share of the traits' mean square sum, on top of FLOOR words' worth of it."""
FLOOR = 60.0
_SOLVED = 16
"""Heads kept solved."""
_UPPER = np.triu_indices(TRAITS)


def learnt_key(scheme: str) -> str:
    return PREFIX + scheme


def half(doc_id: str) -> int:
    return hashlib.blake2b(doc_id.encode("utf-8", "replace"), digest_size=1).digest()[0] % HALVES


def increments(
    scheme: str, traits: np.ndarray, gold: Iterable[tuple[int, int, str]], doc_id: str
) -> Iterator[Increment]:
    """What one reviewed document adds to the sums of its scheme.

    `traits`: int8 [words, TRAITS]; `gold`: (first, last, label), words inclusive.  Nothing where there are no traits.
    """
    if not len(traits) or traits.shape[1] != TRAITS:
        return
    key, which = learnt_key(scheme), str(half(doc_id))
    x = traits.astype(np.float64)  # sums of integers far below 2^53: exact, and faster than in integers
    yield Increment(key, field("reviewer", scheme, "documents", which), 1)
    yield Increment(key, field("reviewer", scheme, "words", which), len(x))
    yield from _vectors(key, scheme, ("gram", which), (x.T @ x)[_UPPER].astype(np.int64))
    by_label: dict[str, set[tuple[int, int]]] = {}
    for first, last, label in gold:
        by_label.setdefault(label, set()).add((first, last))
    for label, spans in sorted(by_label.items()):
        yield Increment(key, field("reviewer", scheme, "mentions", which, label), len(spans))
        y = targets(spans, len(x))
        for n, target in enumerate(TARGETS):
            yield from _vectors(key, scheme, ("cross", which, label, target), (x.T @ y[:, n]).astype(np.int64))


def targets(spans: Iterable[tuple[int, int]], words: int) -> np.ndarray:
    """int64 [words, TARGETS] of 0 and 1."""
    y = np.zeros((words, len(TARGETS)), dtype=np.int64)
    for first, last in spans:
        y[first, 0] = y[last, 2] = 1
        y[first : last + 1, 1] = 1
    return y


@dataclass(frozen=True, slots=True)
class Tally:
    """How a trained head did, by the text alone: spans `found`, of these `right`, and how many it `expected` to be
    (its scores summed).
    """

    found: int = 0
    right: int = 0
    expected: float = 0.0


def tally(scheme: str, label: str, made: Tally) -> Iterator[Increment]:
    """How the trained head did on a reviewed document."""
    key = learnt_key(scheme)
    counts = {"found": made.found, "right": made.right, "expected": round(1000 * made.expected)}
    for name, count in counts.items():
        if count:
            yield Increment(key, field("reviewer", scheme, name, label), count)


def _vectors(key: str, scheme: str, name: Sequence[str], values: np.ndarray) -> Iterator[Increment]:
    for row, at in enumerate(range(0, len(values), PROTOTYPE_WIDTH)):
        part = np.zeros(PROTOTYPE_WIDTH, dtype=np.int64)
        part[: len(values) - at] = values[at : at + PROTOTYPE_WIDTH]
        if part.any():
            yield Increment(key, field("reviewer", scheme, *name, str(row)), 0, tuple(part.tolist()))


@dataclass(frozen=True)
class Learnt:
    """A head solved from a cell.

    `weights`: float64 [labels, TRAITS, TARGETS].  `mentions`: int by label; `quality`: share of the variance of
    `inside` that either half's head explains on the other half, 0..1, by label.  `tallies` of the trained head.
    """

    labels: tuple[str, ...]
    weights: np.ndarray
    documents: int
    mentions: np.ndarray
    quality: np.ndarray
    tallies: Mapping[str, Tally]

    def words(self, traits: np.ndarray, label: str) -> np.ndarray:
        """float64 [words, TARGETS]: about the probability that each word begins, is in, ends a mention."""
        return np.asarray(traits.astype(np.float64) @ self.weights[self.labels.index(label)])

    def amounts(self, label: str) -> np.ndarray:
        """float64 [3]: log numbers of documents and mentions, and quality: how far the head may be trusted."""
        at = self.labels.index(label) if label in self.labels else None
        seen = (0.0, 0.0) if at is None else (float(self.mentions[at]), float(self.quality[at]))
        return np.array([np.log1p(self.documents) / 4, np.log1p(seen[0]) / 4, seen[1]])


WRONG = 0.12
"""Share of right ones among what the trained head found, below which the learnt one takes its place."""
PRIOR = 20.0
"""Found spans' worth of belief in the trained head's own calibration."""
TOLERANCE = 0.5
"""Log-odds by which a calibration may be off before it is corrected."""
MOST = 4.0


def distrusted(head: Learnt) -> frozenset[str]:
    """Labels whose trained head reviews show to be wrong most of the time, and for which a learnt one stands ready."""
    return frozenset(
        label for label, made in head.tallies.items()
        if label in head.labels and made.found >= PRIOR and (made.right + 1) / (made.found + 2) < WRONG
    )


def lowered(made: Tally) -> float:
    """What reviews add to the log-odds of a trained head where its finds are right less often than it says; <= 0.

    Shrunk towards nothing by PRIOR finds, and nothing within TOLERANCE, so that a head that does as it says is left
    alone.
    """
    if not made.found:
        return 0.0
    said = min(max(made.expected / made.found, 0.01), 0.99)
    true = (made.right + PRIOR * said) / (made.found + PRIOR)
    odds = float(np.log(true / (1 - true)) - np.log(said / (1 - said)))
    return max(-MOST, min(0.0, odds + TOLERANCE))


NOTHING = Learnt((), np.zeros((0, TRAITS, len(TARGETS))), 0, np.zeros(0), np.zeros(0), {})
_cache: OrderedDict[bytes, Learnt] = OrderedDict()


def learnt(cells: Mapping[str, Cell], scheme: str) -> Learnt:
    """The head that the scheme's cell holds; solved once for each state of the cell."""
    cell = cells.get(learnt_key(scheme))
    if cell is None:
        return NOTHING
    digest = hashlib.blake2b(repr(sorted(cell.counts.items())).encode(), digest_size=16)
    for name in sorted(cell.vectors):
        digest.update(name.encode())
        digest.update(cell.vectors[name])
    at = digest.digest()
    if at not in _cache:
        _cache[at] = solve(cell, scheme)
        while len(_cache) > _SOLVED:
            _cache.popitem(last=False)
    _cache.move_to_end(at)
    return _cache[at]


def solve(cell: Cell, scheme: str) -> Learnt:
    """Ridge regression of each label's targets from the sums of `cell`."""
    counts, labels, tallies = _counts(cell, scheme)
    gram = np.zeros((HALVES, TRAITS, TRAITS))
    cross = np.zeros((HALVES, len(labels), TRAITS, len(TARGETS)))
    flat = np.zeros((HALVES, -(-len(_UPPER[0]) // PROTOTYPE_WIDTH) * PROTOTYPE_WIDTH))
    for name, packed in cell.vectors.items():
        _, whose, outcome, rest = split_field(name)
        if whose != scheme:
            continue
        vector = np.frombuffer(packed, dtype="<i4").astype(np.float64)
        begin = int(rest[-1]) * PROTOTYPE_WIDTH
        if outcome == "gram":
            flat[int(rest[0]), begin : begin + PROTOTYPE_WIDTH] = vector
        elif outcome == "cross" and rest[1] in labels:
            at = int(rest[0]), labels.index(rest[1]), slice(begin, begin + PROTOTYPE_WIDTH), TARGETS.index(rest[2])
            cross[at] = vector
    for h in range(HALVES):
        gram[h][_UPPER] = flat[h, : len(_UPPER[0])]
        gram[h] = np.triu(gram[h]) + np.triu(gram[h], 1).T
    weights = _ridge(gram.sum(axis=0), cross.sum(axis=0))
    documents = sum(counts.get(("documents", str(h)), 0) for h in range(HALVES))
    mentions = np.array([sum(counts.get(("mentions", str(h), y), 0) for h in range(HALVES)) for y in labels])
    return Learnt(labels, weights, documents, mentions, _quality(gram, cross, counts, labels), tallies)


def _counts(
    cell: Cell, scheme: str
) -> tuple[dict[tuple[str, ...], int], tuple[str, ...], dict[str, Tally]]:
    counts: dict[tuple[str, ...], int] = {}
    for name, count in cell.counts.items():
        _, whose, outcome, rest = split_field(name)
        if whose == scheme and count > 0:
            counts[(outcome, *rest)] = count
    labels = tuple(sorted({at[2] for at in counts if at[0] == "mentions"}))
    headed = sorted({at[1] for at in counts if at[0] == "found"})
    tallies = {y: Tally(counts["found", y], counts.get(("right", y), 0), counts.get(("expected", y), 0) / 1000)
               for y in headed}
    return counts, labels, tallies


def _ridge(gram: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """float64 [labels, TRAITS, TARGETS] of gram [TRAITS, TRAITS], cross [labels, TRAITS, TARGETS]."""
    if not len(cross) or not gram.any():
        return np.zeros_like(cross)
    scale = float(np.trace(gram)) / TRAITS
    words = float(gram[0, 0]) / CONSTANT**2
    penalty = np.full(TRAITS, scale * (RIDGE + FLOOR / max(words, 1.0)))
    penalty[0] = 1e-6 * scale  # the constant
    flat = np.linalg.solve(gram + np.diag(penalty), cross.transpose(1, 0, 2).reshape(TRAITS, -1))
    return flat.reshape(TRAITS, len(cross), len(TARGETS)).transpose(1, 0, 2)


def _quality(
    gram: np.ndarray, cross: np.ndarray, counts: Mapping[tuple[str, ...], int], labels: Sequence[str]
) -> np.ndarray:
    """Share of the variance of `inside` explained out of sample, from the sums alone."""
    error, spread = np.zeros(len(labels)), np.zeros(len(labels))
    inside = TARGETS.index("inside")
    for h in range(HALVES):
        other = 1 - h
        w = _ridge(gram[h], cross[h])[:, :, inside]
        xy = cross[other, :, :, inside]
        positive = xy[:, 0] / CONSTANT  # Σy, as the first trait is constant and y² = y
        words = max(counts.get(("words", str(other)), 0), 1)
        error += positive - 2 * (w * xy).sum(axis=1) + ((w @ gram[other]) * w).sum(axis=1)
        spread += positive - positive**2 / words
    return np.clip(1 - error / np.maximum(spread, 1e-9), 0.0, 1.0) * (spread > 0)
