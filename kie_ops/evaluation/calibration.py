"""How far probabilities can be believed: calibration error beside its noise floor, and thresholds for a precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10
SIMULATIONS = 200


@dataclass(frozen=True, slots=True)
class Bin:
    """Emitted spans of like scores: their number, mean score, and share that is right."""

    count: int
    score: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """`error`: expected calibration error, 0..1.  `floor`: what it is in the mean for a predictor with the same scores
    that is perfectly calibrated; an error near its floor is noise.
    """

    error: float
    floor: float
    bins: tuple[Bin, ...]


def reliability(score: np.ndarray, right: np.ndarray, *, bins: int = BINS, seed: int = 1) -> Reliability:
    """Of probabilities float64 [n] and whether each span is right, bool [n]; bins of equal mass.

    Equal-mass bins and the floor by simulation after Nixon et al., "Measuring calibration in deep learning" (2019),
    and Vaicenavicius et al., "Evaluating model calibration in classification" (2019).
    """
    if not len(score):
        return Reliability(0.0, 0.0, ())
    rank = np.argsort(score, kind="stable")
    score, right = np.asarray(score, dtype=np.float64)[rank], np.asarray(right, dtype=np.float64)[rank]
    groups = [g for g in np.array_split(np.arange(len(score)), bins) if len(g)]
    drawn = np.random.default_rng(seed).random((SIMULATIONS, len(score))) < score
    found = tuple(Bin(len(g), float(score[g].mean()), float(right[g].mean())) for g in groups)
    floors = sum(np.abs(drawn[:, g].mean(axis=1) - score[g].mean()) * len(g) for g in groups) / len(score)
    error = sum(b.count * abs(b.right - b.score) for b in found) / len(score)
    return Reliability(error, float(np.mean(floors)), found)


def cut_for(score: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """The lowest score from which on spans are right in a share of at least `precision`; None where there is none.

    Every prefix of the spans in falling order of score is tried; equal scores stay together.
    """
    rank = np.argsort(-np.asarray(score), kind="stable")
    score, right = np.asarray(score)[rank], np.asarray(right)[rank]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    last = np.append(score[1:] < score[:-1], True) if len(score) else np.zeros(0, dtype=bool)
    good = np.flatnonzero(last & (share >= precision))
    return float(score[good[-1]]) if len(good) else None
