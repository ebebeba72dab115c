"""Fits the calibration of pairs: a logistic regression on pair features, its settings chosen by cross-validation.

Three nested models compete (the logit alone as in Platt 1999, all that the text shows, and memory too), each with
several strengths of shrinkage; folds are of documents.  The threshold is that of the best F1 of the out-of-fold odds,
end to end: gold relations that are no candidates count as missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from kie_ops.dataset import Example, candidate_pairs
from kie_ops.domain import RelationScheme
from kie_ops.gate import PAIR_BOUND, Calibration, sigmoid, type_name
from kie_ops.pair_evidence import FEATURES, LOGIT, TEXT
from kie_ops.training.gate_fit import minimise
from kie_ops.words import split

FOLDS = 5
SHRINKAGES = (1.0, 4.0, 16.0)
"""L2 penalties of the weights, in units of one pair's loss; features are scaled to about 1."""
MODELS: Mapping[str, tuple[str, ...]] = {"logit": (), "text": TEXT[1:], "memory": FEATURES[1:]}
RARE = 0.5
"""Pairs added to each count of a type prior."""


@dataclass(frozen=True)
class Rated:
    """The candidate relations of one document: `features` [n, FEATURES], `prior` [n] log-odds of their types, `right`
    bool [n], `unnamed` bool [n]; `same` int [n]: rows with one number are one relation.  `missed`: gold relations that
    are none of them.
    """

    features: np.ndarray
    prior: np.ndarray
    right: np.ndarray
    unnamed: np.ndarray
    same: np.ndarray
    missed: int


@dataclass(frozen=True)
class Fitted:
    """The calibration; `model` and `shrinkage` chosen; `f1` of out-of-fold odds, by (model, shrinkage)."""

    calibration: Calibration
    model: str
    shrinkage: float
    f1: Mapping[tuple[str, float], float]


def fit(rated: Sequence[Rated], prior: Mapping[str, float] | None = None) -> Fitted:
    """The calibration of one relation scheme.  `prior`: log-odds by type as in `Rated.prior`."""
    data = _Joined.of(rated)
    if not data.right.any():
        return Fitted(Calibration(), "logit", 1.0, {})
    scores: dict[tuple[str, float], tuple[float, float, float]] = {}
    for model, names in MODELS.items():
        for shrinkage in SHRINKAGES:
            odds = np.zeros(len(data.right))
            for fold in range(FOLDS):
                out = data.document % FOLDS == fold
                weights = _regress(data, ~out, names, shrinkage)
                odds[out] = _odds(data, weights)[out]
            scores[model, shrinkage] = _cut(data, odds)
    best = max(scores, key=lambda s: (round(scores[s][0], 4), -list(MODELS).index(s[0]), s[1]))
    weights = _regress(data, np.ones(len(data.right), dtype=bool), MODELS[best[0]], best[1])
    _, threshold, unnamed = scores[best]
    named = {name: float(w) for name, w in zip(FEATURES, weights.by_feature, strict=True) if w and name != "logit"}
    types = dict(sorted((prior or {}).items()))
    scale = float(weights.by_feature[0]) / LOGIT
    cut = Calibration(scale, weights.bias, threshold, unnamed, named, types, weights.prior)
    return Fitted(cut, *best, {at: score[0] for at, score in scores.items()})


def type_prior(examples: Sequence[Example], rules: RelationScheme) -> dict[str, float]:
    """Log-odds that a pair of mentions of two labels stands in a relation, counted on annotated documents.

    Types whose pairs are never related are left out: they start from 0 as far as the text goes, like unseen ones.
    """
    seen: dict[tuple[str, str], np.ndarray] = {}
    for example in examples:
        heads, tails, gold = candidate_pairs(example, split(example.document.text), rules)
        for head, tail, held in zip(heads, tails, gold, strict=True):
            count = seen.setdefault((head.label, tail.label), np.zeros((2, len(rules.labels))))
            count += (held, 1 - held)
    return {
        type_name(head, tail, label): float(np.log((yes + RARE) / (no + RARE)))
        for (head, tail), counts in sorted(seen.items())
        for label, yes, no in zip(rules.labels, *counts.tolist(), strict=True)
    }


@dataclass(frozen=True)
class _Joined:
    features: torch.Tensor
    prior: torch.Tensor
    right: np.ndarray
    unnamed: np.ndarray
    same: np.ndarray
    document: np.ndarray
    missed: int

    @classmethod
    def of(cls, rated: Sequence[Rated]) -> _Joined:
        sizes = [int(r.same.max()) + 1 if len(r.same) else 0 for r in rated]
        shift = np.cumsum([0, *sizes])
        features = np.concatenate([r.features for r in rated] or [np.zeros((0, len(FEATURES)))])
        prior = np.concatenate([r.prior for r in rated] or [np.zeros(0)])
        parts = {name: np.concatenate([getattr(r, name) for r in rated] or [np.zeros(0, dtype=bool)])
                 for name in ("right", "unnamed")}
        same = np.concatenate([r.same + s for r, s in zip(rated, shift[:-1], strict=True)] or [np.zeros(0, dtype=int)])
        document = np.repeat(np.arange(len(rated)), [len(r.right) for r in rated])
        return cls(torch.from_numpy(features), torch.from_numpy(prior), parts["right"], parts["unnamed"], same,
                   document, sum(r.missed for r in rated))


@dataclass(frozen=True)
class _Weights:
    by_feature: np.ndarray
    prior: float
    bias: float


def _regress(data: _Joined, rows: np.ndarray, names: Sequence[str], shrinkage: float) -> _Weights:
    """Logit and bias are free, the others shrink to 0; on pairs whose ends have concepts."""
    take = torch.from_numpy(np.flatnonzero(rows & ~data.unnamed))
    chosen = torch.tensor([name == "logit" or name in names for name in FEATURES], dtype=torch.float64)
    x, prior = data.features[take] * chosen, data.prior[take]
    y = torch.from_numpy(data.right.astype(np.float64))[take]
    start = torch.zeros(len(FEATURES), dtype=torch.float64)
    start[0] = LOGIT
    free = torch.ones(len(FEATURES), dtype=torch.float64)
    free[0] = 0.01
    weights, bias, trust = start.clone(), torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    typed = float(bool(names))

    def loss() -> torch.Tensor:
        z = _linear(x, weights, bias) + typed * trust * prior
        penalty = shrinkage * ((free * (weights - start) ** 2).sum() + typed * trust**2)
        return F.binary_cross_entropy_with_logits(z, y) + penalty / max(len(y), 1)

    minimise([weights, bias, trust], loss)
    return _Weights((weights * chosen).numpy(), typed * float(trust), float(bias))


def _linear(x: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    text = x[:, : len(TEXT)] @ weights[: len(TEXT)]
    memory = x[:, len(TEXT) :] @ weights[len(TEXT) :]
    return bias + text + PAIR_BOUND * torch.tanh(memory / PAIR_BOUND)


def _odds(data: _Joined, weights: _Weights) -> np.ndarray:
    z = _linear(data.features, torch.from_numpy(weights.by_feature), torch.tensor(weights.bias, dtype=torch.float64))
    return np.asarray((z + weights.prior * data.prior).numpy())


def _cut(data: _Joined, odds: np.ndarray) -> tuple[float, float, float]:
    """(F1, threshold, threshold of pairs without concepts) of the best F1; the latter may be 1: none of them."""
    found, threshold = _best(data, odds, ~data.unnamed)
    every, low = _best(data, odds, np.ones(len(odds), dtype=bool))
    return (every, low, low) if every > found else (found, threshold, 1.0)


def _best(data: _Joined, odds: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    top: dict[int, tuple[float, bool]] = {}
    for at, z, hit in zip(data.same[rows].tolist(), odds[rows].tolist(), data.right[rows].tolist(), strict=True):
        if at not in top or z > top[at][0]:
            top[at] = (z, hit)
    ordered = sorted(top.values(), reverse=True)
    if not ordered:
        return 0.0, 0.5
    gold = len(np.unique(data.same[data.right])) + data.missed
    hits = np.cumsum([hit for _, hit in ordered])
    f1 = 2 * hits / (np.arange(1, len(ordered) + 1) + gold)
    at = int(np.argmax(f1))
    between = [z for z, _ in ordered[at : at + 2]]
    return float(f1[at]), float(np.clip(sigmoid(np.array(sum(between) / len(between))), 0.02, 0.95))
