"""What trust in memory looks at: how reliable a candidate's evidence is, and how far the text agrees with memory here.

Some of it (kie_ops.evidence.RELIABILITY) depends on memory alone.  The rest needs the text's odds as well: how unsure
the text is of this candidate, and of the *other* names in the document for which memory speaks, how many it finds.
Where a text is of another kind than those the tagger learnt from, it misses what memory knows, all over the document.
None of it says which way the candidate's own evidence points.
"""

from __future__ import annotations

import numpy as np

from kie_ops.evidence import OUTCOMES, RELIABILITY, Remembered
from kie_ops.memory import SOURCES

AGREED = ("agreed", "agreed_known")
"""Of the document's other candidates that memory calls an entity: the share the text finds, the log of their number."""
TRUST = (*RELIABILITY, *AGREED)
"""What the network behind w_s sees, in order."""
ENTROPY = RELIABILITY.index("entropy")
OTHERS = [n for n, source in enumerate(SOURCES) if source != "self"]
SELF = SOURCES.index("self")
FOR = OUTCOMES.index("entity")
PRIOR = 1.0
"""Candidates added to each document, found by the text as often as not."""


def trusted(remembered: Remembered, h: np.ndarray) -> np.ndarray:
    """float64 [n, len(TRUST)] of one document's candidates with text odds `h` [n]."""
    x = remembered.reliability.copy()
    x[:, ENTROPY] = entropy(h)
    raw = np.expm1(remembered.counts[:, :, OTHERS])
    speaks = raw[..., FOR].sum(axis=(1, 2)) > raw.sum(axis=(1, 2, 3)) / 2
    found = np.where(speaks, sigmoid(np.clip(h, -30, 30)), 0.0)
    number = speaks.sum() - speaks
    share = (found.sum() - found + PRIOR / 2) / (number + PRIOR)
    return np.column_stack([x, share, np.log1p(number)])


def entropy(h: np.ndarray) -> np.ndarray:
    """Of a yes or no with log-odds `h`, in bits."""
    p = sigmoid(np.clip(h, -30, 30))
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))
