"""Concept ids of mentions, from what memory counted: who said it weighs more than how often."""

from __future__ import annotations

from kie_ops.candidates import Names
from kie_ops.evidence import Knowledge
from kie_ops.vocabularies.hierarchy import shared

WEIGHTS = {"reviewer": 1_000, "training": 10, "vocabulary": 5, "self": 1}
"""Of one count of a source: no number of counts seen elsewhere outweighs a reviewer lightly."""


def concept(names: Names, first: int, last: int, label: str, knowledge: Knowledge | None) -> str | None:
    """The concept id with the largest weighted count under the span's key, else under the nearest back-off key.

    None where memory knows none.  Ties go to the nearest ancestor that the tied share by an imported vocabulary, else
    to the id that comes first in the alphabet.
    """
    key = names.key(first, last)
    if key is None or knowledge is None:
        return None
    for probe in (key, *names.back_off(first, last)):
        known = knowledge.get(probe)
        weights = {
            which: sum(WEIGHTS[source] * count for source, count in counts.items())
            for (whose, which), counts in (known.concepts if known else {}).items() if whose == label
        }
        if known is not None and weights:
            best = max(weights.values())
            tied = sorted(which for which, weight in weights.items() if weight == best)
            return shared({c: steps for (whose, c), steps in known.broader.items() if whose == label}, tied) or tied[0]
    return None
