"""Relations between decoded mentions.  Memory lists what it knows of a pair; it never makes a relation by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kie_ops import pair_evidence
from kie_ops.domain import RelationScheme
from kie_ops.evidence import MANY
from kie_ops.gate import Calibration, sigmoid, type_name
from kie_ops.heads import Endpoint
from kie_ops.memory import SOURCES, Cell, pair_key, split_field
from kie_ops.pairs import Item, Scored
from kie_ops.records import Evidence
from kie_ops.text_reading import TextReading

NEIGHBOURS = 24
"""Mentions after a mention that it is paired with, at most, at sentence level."""
CONCEPTS = 96
"""Concepts of a document that are paired, at most, at document level: those with most mentions."""


class Relate(Protocol):
    """TextModel.relate: logits float32 [pairs, labels]."""

    def __call__(
        self, reading: TextReading, scheme: str, heads: Sequence[Endpoint], tails: Sequence[Endpoint]
    ) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Related:
    """`head` and `tail` index the items; `score` is a probability."""

    head: int
    tail: int
    label: str
    score: float


def relate(
    model: Relate, reading: TextReading, scheme: str, rules: RelationScheme, items: Sequence[Item], cut: Calibration,
    cells: Mapping[str, Cell] | None = None,
) -> list[Related]:
    """The relations of one scheme, in order of (head, tail, label); without `cells` those of the text alone."""
    scored = score(model, reading, scheme, rules, items, cells)
    return chosen(scored, rules, items, cut, recalled=cells is not None)


def score(
    model: Relate, reading: TextReading, scheme: str, rules: RelationScheme, items: Sequence[Item],
    cells: Mapping[str, Cell] | None = None,
) -> Scored:
    """All allowed pairs with their logits and features."""
    pairs = list(_concept_pairs(rules, items) if rules.level == "document" else _mention_pairs(rules, reading, items))
    heads, tails, names = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), tuple(p[2] for p in pairs)

    def ends(groups: Sequence[tuple[int, ...]]) -> list[Endpoint]:
        return [Endpoint(items[g[0]].label, tuple((items[i].first, items[i].last) for i in g)) for g in groups]

    if not pairs:
        return Scored((), (), (), np.zeros((0, len(rules.labels)), dtype=np.float32),
                      np.zeros((0, len(rules.labels), len(pair_evidence.FEATURES))))
    logits = model(reading, scheme, ends(heads), ends(tails))
    groups = pair_evidence.Groups(heads, tails, names, logits)
    measured = pair_evidence.features(groups, items, rules.labels, reading.sentence_of(), scheme, cells)
    return Scored(heads, tails, names, logits, measured)


def chosen(
    scored: Scored, rules: RelationScheme, items: Sequence[Item], cut: Calibration, *, recalled: bool = True
) -> list[Related]:
    """The pairs whose calibrated probability reaches the threshold, between their closest mentions."""
    probability = sigmoid(odds(scored, rules, items, cut))
    best: dict[tuple[int, int, str], float] = {}
    emitted = probability >= thresholds(scored, cut, recalled=recalled)[:, None]
    for k, y in zip(*(a.tolist() for a in np.nonzero(emitted)), strict=True):
        head, tail = _closest(items, scored.heads[k], scored.tails[k])
        label = rules.labels[y]
        if label in rules.symmetric and head > tail:
            head, tail = tail, head
        at = (head, tail, label)
        best[at] = max(best.get(at, 0.0), float(probability[k, y]))
    return [Related(h, t, label, p) for (h, t, label), p in sorted(best.items())]


def odds(scored: Scored, rules: RelationScheme, items: Sequence[Item], cut: Calibration) -> np.ndarray:
    """float64 [pairs, labels]: calibrated log-odds."""
    ends = [(items[h[0]].label, items[t[0]].label) for h, t in zip(scored.heads, scored.tails, strict=True)]
    prior = np.array([[cut.prior.get(type_name(*both, y), 0.0) for y in rules.labels] for both in ends])
    return cut.odds_of(scored.features, prior.reshape(scored.logits.shape))


def thresholds(scored: Scored, cut: Calibration, *, recalled: bool = True) -> np.ndarray:
    """float64 [pairs]: the probability from which each is emitted; where memory was asked, another one for pairs of
    which an end has no concept.
    """
    return np.where(scored.unnamed() & recalled, max(cut.unnamed, cut.threshold), cut.threshold)


def evidence(head: Item, tail: Item, scheme: str, cells: Mapping[str, Cell]) -> tuple[Evidence, ...]:
    """What memory counted of this pair of surfaces, or of its concepts."""
    out = []
    for key in pair_keys(head, tail):
        cell = cells.get(key)
        for name, count in (cell.counts if cell else {}).items():
            source, whose, outcome, rest = split_field(name)
            if whose == scheme and outcome == "related" and count > 0 and source in SOURCES:
                out.append(Evidence(key, source, outcome, rest[0], count))
    return tuple(sorted(out, key=lambda e: (-e.count, e.key, e.source, e.label))[:MANY])


def pair_keys(head: Item, tail: Item) -> tuple[str, ...]:
    """Keys of the relation cells of two mentions: by surface."""
    return () if head.key is None or tail.key is None else (pair_key(head.key, tail.key),)


_Pair = tuple[tuple[int, ...], tuple[int, ...], tuple[str, str]]
_NAMELESS = ("", "")


def _mention_pairs(
    rules: RelationScheme, reading: TextReading, items: Sequence[Item]
) -> Iterator[_Pair]:
    sentence_of = reading.sentence_of()
    for i, item in enumerate(items):
        for j in range(i + 1, min(i + 1 + NEIGHBOURS, len(items))):
            if int(sentence_of[items[j].first]) - int(sentence_of[item.first]) > rules.max_sentences:
                break
            if rules.allows(item.label, items[j].label):
                yield (i,), (j,), _NAMELESS
            if rules.allows(items[j].label, item.label):
                yield (j,), (i,), _NAMELESS


def _concept_pairs(
    rules: RelationScheme, items: Sequence[Item]
) -> Iterator[_Pair]:
    groups: dict[tuple[str, str], list[int]] = {}
    for i, item in enumerate(items):
        for concept in item.concept_ids:
            groups.setdefault((item.label, concept), []).append(i)
    kept = sorted(groups, key=lambda g: (-len(groups[g]), groups[g], g))[:CONCEPTS]
    for a in sorted(kept, key=lambda g: (groups[g], g)):
        for b in sorted(kept, key=lambda g: (groups[g], g)):
            if a != b and rules.allows(a[0], b[0]):
                yield tuple(groups[a]), tuple(groups[b]), (a[1], b[1])


def _closest(items: Sequence[Item], heads: Sequence[int], tails: Sequence[int]) -> tuple[int, int]:
    """The two mentions of a pair of concepts that stand nearest to each other; the earliest such."""
    def gap(pair: tuple[int, int]) -> tuple[int, int, int]:
        a, b = items[pair[0]], items[pair[1]]
        return max(b.first - a.last, a.first - b.last), *pair

    return min(((h, t) for h in heads for t in tails), key=gap)
