"""Sources that contradict each other about a key: who says what, and which side wins.

Within one scheme each source votes with what it counted most: an entity type, or none.  A dispute is a key with votes
for more than one.  A side weighs the sum of log2(1 + count) of its voices.  Which side wins is what the gate makes of
all counts of the key, as for a mention of it: the memory's own probability for the label, before the text is weighed.
Without a gate for the scheme it is the side's share of the weight.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.evidence import KINDS, OUTCOMES, RELIABILITY, Facts, Remembered, counted, facts
from kie_ops.gate import Gate, MemoryGate, sigmoid
from kie_ops.memory import SOURCES, Cell, split_field

NONE = "none"


@dataclass(frozen=True, slots=True)
class Voice:
    """A source by one scheme, what it makes of a key, how often, and where to see an example (self keeps none)."""

    key: str
    source: str
    scheme: str
    label: str
    count: int
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """Voices that say the same.  `weight` in bits; `probability`: how strongly memory alone believes it."""

    label: str
    weight: float
    probability: float
    voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True)
class Dispute:
    """`sides`: the winner first.  `rank` = second weight × 2·second / (first + second): how hard it is fought over."""

    key: str
    scheme: str
    sides: tuple[Side, ...]
    rank: float

    @property
    def winner(self) -> str:
        return self.sides[0].label


def voices(cell: Cell) -> list[Voice]:
    """What each source by each scheme makes of a key, in order of scheme, then source."""
    out = []
    for scheme in sorted({split_field(name)[1] for name in cell.counts}):
        known = facts(cell, scheme)
        for source in SOURCES:
            said = _counts(known, source)
            if said:
                label = min(said, key=lambda name: (-said[name], name))
                out.append(Voice(cell.key, source, scheme, label, said[label], known.examples.get(source)))
    return out


def disputes(cell: Cell, gate: Gate | None = None) -> list[Dispute]:
    """The disputes about one key, one for each scheme at most."""
    by_scheme: dict[str, list[Voice]] = {}
    for voice in voices(cell):
        by_scheme.setdefault(voice.scheme, []).append(voice)
    found = []
    for scheme, some in by_scheme.items():
        if len({v.label for v in some}) > 1:
            found.append(_dispute(cell, scheme, some, gate.memory.get(scheme) if gate else None))
    return found


def strongest(cells: Iterable[Cell], limit: int, gate: Gate | None = None, label: str | None = None) -> list[Dispute]:
    """The `limit` disputes of highest rank; `label`: only those in which a side says it."""
    found = (
        d for cell in cells if _may_dispute(cell) for d in disputes(cell, gate)
        if label is None or any(side.label.casefold() == label.casefold() for side in d.sides)
    )
    return heapq.nsmallest(limit, found, key=lambda d: (-d.rank, d.key, d.scheme))


def _may_dispute(cell: Cell) -> bool:
    """Whether more than one source counted whole mentions or none: most cells are told apart by this alone."""
    sources = set()
    for name in cell.counts:
        source, _, outcome, _ = split_field(name)
        if outcome in ("entity", NONE):
            sources.add(source)
    return len(sources) > 1


def _counts(known: Facts, source: str) -> dict[str, int]:
    """By entity type, and none."""
    said = {label: count for (who, label), count in known.entity.items() if who == source}
    if known.none.get(source):
        said[NONE] = known.none[source]
    return said


def _dispute(cell: Cell, scheme: str, some: Sequence[Voice], gate: MemoryGate | None) -> Dispute:
    groups: dict[str, list[Voice]] = {}
    for voice in some:
        groups.setdefault(voice.label, []).append(voice)
    weights = {label: math.fsum(math.log2(1 + v.count) for v in of) for label, of in groups.items()}
    belief = _believed(facts(cell, scheme), groups, gate) if gate else {
        label: weight / math.fsum(weights.values()) for label, weight in weights.items()}
    sides = sorted(
        (Side(label, weights[label], belief[label], tuple(sorted(of, key=lambda v: (-v.count, v.source))))
         for label, of in groups.items()), key=lambda s: (-s.probability, -s.weight, s.label),
    )
    first, second = sorted(weights.values(), reverse=True)[:2]
    return Dispute(cell.key, scheme, tuple(sides), second * 2 * second / (first + second))


def _believed(known: Facts, labels: Iterable[str], gate: MemoryGate) -> Mapping[str, float]:
    """The gate's probability of each label by memory alone; of none: that it is nothing that memory knows it as."""
    types = sorted({label for _, label in known.entity})
    raw = np.zeros((len(types), len(KINDS), len(SOURCES), len(OUTCOMES)))
    for i, label in enumerate(types):
        raw[i, 0] = counted(known, label)
    remembered = Remembered(counts=np.log1p(raw), reliability=np.zeros((len(types), len(RELIABILITY))),
                            present=np.ones(len(types), dtype=bool))
    odds = sigmoid(gate.odds(remembered, types)).tolist()
    belief = dict(zip(types, odds, strict=True))
    return {label: belief[label] if label != NONE else 1 - max(odds, default=0.0) for label in labels}
