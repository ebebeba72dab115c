"""The dictionary that memory is measured against: the same keys and facts, without any gate.

A key counts as an entity where positive / (positive + none) reaches a threshold set on dev; the longest match wins, and
what the tagger finds with memory off goes first.
"""

from __future__ import annotations

import numpy as np

from kie_ops.candidates import Names
from kie_ops.decisions import Decided
from kie_ops.evidence import Facts, Knowledge


def matches(names: Names, knowledge: Knowledge) -> list[tuple[int, int, str, float]]:
    """(first, last, label, share of positive counts) of every span with a known key."""
    known = knowledge.labels()
    found: dict[tuple[int, int], tuple[str, float]] = {}
    for _, first, last in names.spans(known):
        key = names.key(first, last)
        for probe in (key, *names.back_off(first, last)) if key else ():
            facts = knowledge.get(probe)
            if facts is not None and facts.entity:
                found.setdefault((first, last), _judge(facts))
    return [(first, last, *judged) for (first, last), judged in sorted(found.items())]


def _judge(facts: Facts) -> tuple[str, float]:
    votes: dict[str, int] = {}
    for (_, label), count in facts.entity.items():
        votes[label] = votes.get(label, 0) + count
    label = min(votes, key=lambda name: (-votes[name], name))
    against = sum(facts.none.values()) + sum(facts.part.values()) + sum(facts.crossing.values())
    return label, votes[label] / (sum(votes.values()) + against)


def joined(
    alone: Decided, found: list[tuple[int, int, str, float]], threshold: float
) -> list[tuple[int, int, str]]:
    """The tagger's spans with memory off, and the dictionary's longest matches where those leave room."""
    out = [(d.first, d.last, d.label) for d in alone.chosen]
    taken = np.zeros(1 + max([last for _, last, _ in out] + [last for _, last, _, _ in found], default=0), dtype=bool)
    for first, last, _ in out:
        taken[first : last + 1] = True
    for first, last, label, share in sorted(found, key=lambda m: (m[0] - m[1], m[0])):
        if share >= threshold and not taken[first : last + 1].any():
            taken[first : last + 1] = True
            out.append((first, last, label))
    return sorted(out)
