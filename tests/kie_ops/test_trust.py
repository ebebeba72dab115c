"""What trust in memory sees of a document's other names."""

import numpy as np
import pytest

from kie_ops.evidence import KINDS, OUTCOMES, Remembered, reliability
from kie_ops.memory import SOURCES
from kie_ops.trust import TRUST, UPHELD_PRIOR, trusted

NONE = OUTCOMES.index("none")


def seen(*rows: dict[tuple[str, int], int]) -> np.ndarray:
    """Trust features of a document whose candidates have these exact counts by (source, outcome)."""
    raw = np.zeros((len(rows), len(KINDS), len(SOURCES), len(OUTCOMES)))
    for n, row in enumerate(rows):
        for (source, outcome), count in row.items():
            raw[n, 0, SOURCES.index(source), outcome] = count
    shape = np.ones((len(rows), 2))
    known = Remembered(np.log1p(raw), reliability(raw, np.zeros((len(rows), 2)), shape), raw.sum(axis=(1, 2, 3)) > 0)
    return trusted(known, np.zeros(len(rows)))


def test_reviews_of_other_names_tell_how_far_a_source_is_upheld() -> None:
    listed = {("vocabulary", 0): 1}
    x = seen(listed, listed | {("reviewer", 0): 3}, listed | {("reviewer", NONE): 1}, {("reviewer", 0): 50})
    upheld, judged = TRUST.index("vocabulary_upheld"), TRUST.index("vocabulary_judged")
    assert x[0, upheld] == pytest.approx((3 + UPHELD_PRIOR / 2) / (4 + UPHELD_PRIOR)), "of both others"
    assert x[1, upheld] == pytest.approx((0 + UPHELD_PRIOR / 2) / (1 + UPHELD_PRIOR)), "not of itself"
    assert np.expm1(x[:, judged]) == pytest.approx([4, 1, 3, 4]), "what no vocabulary lists says nothing of it"


def test_what_training_calls_nothing_is_upheld_by_reviews_that_call_it_nothing() -> None:
    nothing = {("training", NONE): 5}
    x = seen({}, nothing | {("reviewer", NONE): 4}, nothing | {("reviewer", 0): 4})
    at = TRUST.index("training_upheld")
    assert x[0, at] == pytest.approx(0.5)
    assert x[2, at] == pytest.approx((4 + UPHELD_PRIOR / 2) / (4 + UPHELD_PRIOR))
    assert x[1, at] == pytest.approx((UPHELD_PRIOR / 2) / (4 + UPHELD_PRIOR))
