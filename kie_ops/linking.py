"""Concept ids of a document's mentions, from what memory counted: who said it weighs more than how often.

A mention is looked up by its key, by its back-off keys, by its bag of stems (:mod:`kie_ops.stems`), and under what
other schemes call it.  Where memory knows none of these, it takes the id of another mention of the document whose words
hold its own or are held by them; at last, that of its longest part that has one ("severe cough" as cough).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from kie_ops.candidates import Names
from kie_ops.evidence import Knowledge
from kie_ops.memory import Cell, split_field
from kie_ops.stems import bag, stems_of
from kie_ops.vocabularies.hierarchy import shared

WEIGHTS = {"correction": 10_000, "reviewer": 1_000, "training": 10, "vocabulary": 5, "self": 1}
"""Of one count of a source: no number of counts seen elsewhere outweighs a person lightly."""
Span = tuple[int, int, str]
"""First word, last word (inclusive), label."""


def concept(names: Names, first: int, last: int, label: str, knowledge: Knowledge | None) -> str | None:
    """The concept id with the largest weighted count under the span's key, else under the nearest key that has any.

    None where memory knows none.  Ties go to the nearest ancestor that the tied share by an imported vocabulary, else
    to the id that comes first in the alphabet.
    """
    if knowledge is None:
        return None
    probes = tuple(_probes(names, first, last))
    for probe in probes:
        found = _own(knowledge, probe, label)
        if found is not None:
            return found
    for probe in probes:
        found = _elsewhere(knowledge, probe)
        if found is not None:
            return found
    return None


def concepts(names: Names, spans: Sequence[Span], knowledge: Knowledge | None) -> list[str | None]:
    """The concept ids of one document's mentions, in their order: by memory, else by other mentions, else by parts."""
    found = [concept(names, *span, knowledge) for span in spans]
    if knowledge is None:
        return found
    return [
        which or _neighbour(names, span, spans, found) or _part(names, span, knowledge)
        for which, span in zip(found, spans, strict=True)
    ]


def _probes(names: Names, first: int, last: int) -> Iterator[str]:
    key, raw = names.key(first, last), names.raw_key(first, last)
    if key is None:
        return
    yield from dict.fromkeys((key, *names.back_off(first, last)))
    for form in dict.fromkeys((key, raw)):
        stems = bag(form) if form is not None else None
        if stems is not None:
            yield stems


def _own(knowledge: Knowledge, probe: str, label: str) -> str | None:
    known = knowledge.get(probe)
    weights = {
        which: sum(WEIGHTS[source] * count for source, count in counts.items())
        for (whose, which), counts in (known.concepts if known else {}).items() if whose == label
    }
    if known is None or not weights:
        return None
    best = max(weights.values())
    tied = sorted(which for which, weight in weights.items() if weight == best)
    return shared({c: steps for (whose, c), steps in known.broader.items() if whose == label}, tied) or tied[0]


def _elsewhere(knowledge: Knowledge, probe: str) -> str | None:
    """The id that other schemes give, whose labels are other ones; none where this scheme has ids of its own."""
    cell = knowledge.cells.get(probe)
    known = knowledge.get(probe)
    if cell is None or (known is not None and known.concepts):
        return None
    return _heaviest(_ids(cell, knowledge.scheme))


def _ids(cell: Cell, but: str) -> Counter[str]:
    out: Counter[str] = Counter()
    for name, count in cell.counts.items():
        source, scheme, outcome, rest = split_field(name)
        if outcome == "concept" and scheme != but and count > 0 and len(rest) > 1 and source in WEIGHTS:
            out[rest[1].replace("¦", "|")] += WEIGHTS[source] * count
    return out


def _heaviest(weights: Mapping[str, int]) -> str | None:
    return min(weights, key=lambda which: (-weights[which], which)) if weights else None


def _neighbour(names: Names, span: Span, spans: Sequence[Span], found: Sequence[str | None]) -> str | None:
    """The id of most other mentions of the label whose words hold this one's or are held by them; longest first."""
    mine = _stems(names, span)
    votes: Counter[tuple[int, str]] = Counter()
    for other, which in zip(spans, found, strict=True):
        if which is not None and other[2] == span[2]:
            theirs = _stems(names, other)
            if mine and theirs and (mine <= theirs or theirs <= mine):
                votes[len(mine & theirs), which] += 1
    return min(votes, key=lambda v: (-v[0], -votes[v], v[1]))[1] if votes else None


def _stems(names: Names, span: Span) -> frozenset[str]:
    key = names.key(span[0], span[1])
    return stems_of(key) if key is not None else frozenset()


def _part(names: Names, span: Span, knowledge: Knowledge) -> str | None:
    """The id of the longest part of a mention that has one under the same label; of equal ones the last."""
    first, last, label = span
    for size in range(last - first, 0, -1):
        for at in range(last - size + 1, first - 1, -1):
            for probe in _probes(names, at, at + size - 1):
                found = _own(knowledge, probe, label)
                if found is not None:
                    return found
    return None
