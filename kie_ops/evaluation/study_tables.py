"""A study as rows: every control each time, whole stream and second half, with paired intervals and spreads.

An interval is of a bootstrap over documents (all orders of a document are drawn together), paired between the modes;
a spread is the standard deviation over orders of arrival, each with its own sample of reviews.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kie_ops.evaluation.calibration import Reliability, reliability
from kie_ops.evaluation.standing import DICTIONARY, OFF, ON, f1_of
from kie_ops.evaluation.stream_scores import CUT, MODES
from kie_ops.evaluation.stream_study import Study, Trial
from kie_ops.evaluation.streams import KINDS

WHOLE, SECOND = PARTS = ("whole", "second half")
SAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Gain:
    """F1 over another mode's, with its 95 % interval."""

    f1: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """Scores of 0..1.  `low`, `high`: 95 % interval of F1; `spread` over orders; `recall_by_kind`: None where there is
    no such mention; `gold_by_kind`: their number in the mean order.
    """

    arm: str
    mode: str
    part: str
    precision: float
    recall: float
    f1: float
    low: float
    high: float
    spread: float
    over_off: Gain | None
    over_dictionary: Gain | None
    recall_by_kind: dict[str, float | None]
    gold_by_kind: dict[str, float]


def rows(study: Study, *, samples: int = SAMPLES, seed: int = 1) -> list[Row]:
    """Memory off, dictionary and on (and on from the wanted precision) of each arm, whole stream and second half."""
    draws = _draws(study.documents, samples, seed)
    later = study.later()
    return [
        _row(trial, mode, part, later if part == SECOND else np.ones_like(later), draws)
        for part in PARTS for trial in study.trials for mode in MODES if mode != CUT or study.precision is not None
    ]


def against(
    study: Study, one: str, other: str, *, part: str = WHOLE, samples: int = SAMPLES, seed: int = 1
) -> Gain:
    """F1 of memory on in the arm named `one` over that in `other`, paired by document and order."""
    by_name = {t.arm.name: t for t in study.trials}
    use = study.later() if part == SECOND else np.ones_like(study.later())
    a, b = (_summed(by_name[name], ON, use) for name in (one, other))
    return _gain(a, b, _draws(study.documents, samples, seed))


def kept(study: Study, clean: str, spoilt: str, *, part: str = WHOLE) -> dict[str, float | None]:
    """What wrong reviews leave of the gain: share of the clean gain (None without one), and F1 over memory off, in the
    mean and in the worst order.
    """
    by_name = {t.arm.name: t for t in study.trials}
    use = study.later() if part == SECOND else np.ones_like(study.later())
    off, right = (_f1(by_name[clean], mode, use) for mode in (OFF, ON))
    wrong = _f1(by_name[spoilt], ON, use)
    gain = float(np.mean(right - off))
    return {"clean_gain": gain, "kept": float(np.mean(wrong - off)) / gain if gain > 0 else None,
            "over_off": float(np.mean(wrong - off)), "worst_order_over_off": float(np.min(wrong - off))}


def believed(study: Study) -> dict[str, Reliability]:
    """Reliability of the emitted spans by arm, of the first order (the same documents in another are no new ones)."""
    return {t.arm.name: reliability(t.emitted[0].score, t.emitted[0].right) for t in study.trials}


def as_json(study: Study, made: Sequence[Row] | None = None) -> dict[str, Any]:
    """Plain JSON; scores of 0..1 with four digits."""
    said = {
        "scheme": study.scheme, "labels": list(study.labels), "documents": study.documents,
        "dev_documents": study.dev_documents, "seeds": list(study.seeds), "precision": study.precision,
        "arms": {t.arm.name: {"dictionary_threshold": t.cuts.dictionary, "dictionary_own": t.cuts.own,
                              "cuts": dict(t.cuts.labels), "cells": len(t.arm.memory),
                              "plan": dataclasses.asdict(t.arm.plan)}
                 for t in study.trials},
        "rows": [dataclasses.asdict(row) for row in (made if made is not None else rows(study))],
        "calibration": {name: dataclasses.asdict(r) for name, r in believed(study).items()},
    }
    for arm in said["arms"].values():  # type: ignore[attr-defined]
        if arm["plan"]["attack"] is not None:
            arm["plan"]["attack"]["common"] = sorted(arm["plan"]["attack"]["common"])
    return rounded(said)


def rounded(value: Any) -> Any:
    """Floats with four digits, wherever they stand."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list | tuple) else value


HEADER = ("arm", "mode", "P", "R", "F1", "95 %", "± orders", "over off", "over dictionary", *(f"R {k}" for k in KINDS))


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in percent, under HEADER."""
    def gain(g: Gain | None) -> str:
        return "" if g is None else f"{100 * g.f1:+.1f} ({100 * g.low:+.1f} to {100 * g.high:+.1f})"

    by_kind = tuple("-" if row.recall_by_kind[k] is None else f"{100 * (row.recall_by_kind[k] or 0):.1f}"
                    f" of {row.gold_by_kind[k]:.0f}" for k in KINDS)
    return (row.arm, row.mode, f"{100 * row.precision:.1f}", f"{100 * row.recall:.1f}", f"{100 * row.f1:.1f}",
            f"{100 * row.low:.1f} to {100 * row.high:.1f}", f"{100 * row.spread:.1f}", gain(row.over_off),
            gain(row.over_dictionary), *by_kind)


def _row(trial: Trial, mode: str, part: str, use: np.ndarray, draws: np.ndarray) -> Row:
    counts = _summed(trial, mode, use)
    tp, predicted, gold = (int(c) for c in counts.sum(axis=0))
    low, high = np.percentile(f1_of(draws @ counts), [2.5, 97.5])
    found = (trial.found[:, :, MODES.index(mode)] * use[:, :, None]).sum(axis=(0, 1))
    total = (trial.gold * use[:, :, None]).sum(axis=(0, 1))
    return Row(
        trial.arm.name, mode, part, tp / predicted if predicted else 0.0, tp / gold if gold else 0.0,
        float(f1_of(counts.sum(axis=0))), float(low), float(high), float(np.std(_f1(trial, mode, use))),
        None if mode == OFF else _gain(counts, _summed(trial, OFF, use), draws),
        _gain(counts, _summed(trial, DICTIONARY, use), draws) if mode in (ON, CUT) else None,
        {k: float(found[n] / total[n]) if total[n] else None for n, k in enumerate(KINDS)},
        {k: float(total[n] / len(use)) for n, k in enumerate(KINDS)},
    )


def _draws(documents: int, samples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.multinomial(documents, np.full(documents, 1 / max(documents, 1)), size=samples))


def _summed(trial: Trial, mode: str, use: np.ndarray) -> np.ndarray:
    """int64 [documents, 3]: counts of one mode, summed over the orders in which a document is used."""
    return np.asarray((trial.counts[:, :, MODES.index(mode)] * use[:, :, None]).sum(axis=0))


def _f1(trial: Trial, mode: str, use: np.ndarray) -> np.ndarray:
    """float64 [orders]"""
    return f1_of((trial.counts[:, :, MODES.index(mode)] * use[:, :, None]).sum(axis=1))


def _gain(counts: np.ndarray, base: np.ndarray, draws: np.ndarray) -> Gain:
    low, high = np.percentile(f1_of(draws @ counts) - f1_of(draws @ base), [2.5, 97.5])
    return Gain(float(f1_of(counts.sum(axis=0)) - f1_of(base.sum(axis=0))), float(low), float(high))
