import numpy as np
import pytest

from kie_ops.evaluation.calibration import cut_for, reliability


def test_a_calibrated_predictor_is_at_its_floor_and_a_boaster_is_not() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0.5, 1.0, 5_000)
    right = rng.random(5_000) < score
    honest = reliability(score, right)
    assert honest.error < 1.5 * honest.floor < 0.03
    assert len(honest.bins) == 10
    assert {b.count for b in honest.bins} == {500}
    boast = reliability(np.minimum(score + 0.15, 1.0), right)
    assert boast.error > 4 * boast.floor


def test_few_spans_have_a_high_floor_and_none_have_nothing() -> None:
    few = reliability(np.full(20, 0.7), np.arange(20) < 14)
    assert few.floor > 0.1
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)).error == 0


@pytest.mark.parametrize(("precision", "cut"), [(1.0, 0.8), (0.7, 0.5), (0.5, 0.3)])
def test_the_lowest_score_that_keeps_a_precision(precision: float, cut: float) -> None:
    score = np.array([0.3, 0.9, 0.5, 0.8, 0.5])
    right = np.array([False, True, False, True, True])
    assert cut_for(score, right, precision) == cut


def test_a_precision_out_of_reach() -> None:
    assert cut_for(np.array([0.9, 0.8]), np.array([False, True]), 0.9) is None
    assert cut_for(np.zeros(0), np.zeros(0), 0.9) is None
