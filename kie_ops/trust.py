"""What trust in memory looks at: how reliable a candidate's evidence is, and how far the text agrees with memory here.

Some of it (kie_ops.evidence.RELIABILITY) depends on memory alone.  The rest looks at the document's *other* names.  Of
those for which memory speaks: how many the text finds, as where a text is of another kind than those the tagger learnt
from, it misses what memory knows, all over the document.  Of those that reviews have judged too: how far they uphold
what training, and vocabularies, say, as where rules differ, or a list is careless.  None of it says which way the
candidate's own evidence points.
"""

from __future__ import annotations

import numpy as np

from kie_ops.evidence import OUTCOMES, RELIABILITY, Remembered
from kie_ops.memory import SOURCES

AGREED = ("agreed", "agreed_known")
"""Of the document's other candidates that memory calls an entity: the share the text finds, the log of their number."""
UPHELD = ("training_upheld", "training_judged", "vocabulary_upheld", "vocabulary_judged")
"""Of what reviews counted of the document's other candidates that a source knows: the share that agrees with it, the
log of the count."""
TRUST = (*RELIABILITY, *AGREED, *UPHELD)
"""What the network behind w_s sees, in order."""
CONTEXT = ("tokens", "acronym", *AGREED, *UPHELD)
"""What memory's own odds depend on besides counts: the key's shape, and the document's other names."""
NEUTRAL = np.array([np.log1p(1.0), 0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.0])
"""Of a name of one word that stands alone."""
ENTROPY = RELIABILITY.index("entropy")
OTHERS = [n for n, source in enumerate(SOURCES) if source != "self"]
SELF, REVIEWER = SOURCES.index("self"), SOURCES.index("reviewer")
JUDGED = SOURCES.index("training"), SOURCES.index("vocabulary")
FOR = OUTCOMES.index("entity")
PRIOR = 1.0
"""Candidates added to each document, found by the text as often as not."""
UPHELD_PRIOR = 4.0
"""Reviews' counts added to each source's, half of them agreeing with it."""


def trusted(remembered: Remembered, h: np.ndarray) -> np.ndarray:
    """float64 [n, len(TRUST)] of one document's candidates with text odds `h` [n]."""
    x = remembered.reliability.copy()
    x[:, ENTROPY] = entropy(h)
    raw = np.expm1(remembered.counts)
    some = raw[:, :, OTHERS]
    speaks = some[..., FOR].sum(axis=(1, 2)) > some.sum(axis=(1, 2, 3)) / 2
    found = np.where(speaks, sigmoid(np.clip(h, -30, 30)), 0.0)
    number = speaks.sum() - speaks
    share = (found.sum() - found + PRIOR / 2) / (number + PRIOR)
    upheld = [column for source in JUDGED for column in _upheld(raw[:, 0], source)]
    return np.column_stack([x, share, np.log1p(number), *upheld])


def context(trust: np.ndarray) -> np.ndarray:
    """float64 [n, len(CONTEXT)], 0 where neutral, of :func:`trusted`'s columns (others may stand before AGREED)."""
    shape = [RELIABILITY.index(name) for name in CONTEXT[:2]]
    return np.asarray(np.column_stack([trust[:, shape], trust[:, 2 - len(CONTEXT) :]]) - NEUTRAL)


def _upheld(raw: np.ndarray, source: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 [n] each, of counts [n, sources, outcomes] of exact keys: how far reviews agree with `source`, and the
    log of how much they say, on the other candidates.
    """
    verdict = np.sign(2 * raw[:, source, FOR] - raw[:, source].sum(axis=1))
    yes = raw[:, REVIEWER, FOR]
    judged = np.where(verdict != 0, raw[:, REVIEWER].sum(axis=1), 0.0)
    agree = np.where(verdict > 0, yes, judged - yes)
    agree = np.where(verdict != 0, agree, 0.0)
    others = judged.sum() - judged
    return (agree.sum() - agree + UPHELD_PRIOR / 2) / (others + UPHELD_PRIOR), np.log1p(others)


def entropy(h: np.ndarray) -> np.ndarray:
    """Of a yes or no with log-odds `h`, in bits."""
    p = sigmoid(np.clip(h, -30, 30))
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))
