"""The gate: z = w_h·h + w_s·m with w_s + w_h = 1, for each candidate.

h is the text's log-odds with in-document features, calibrated.  m is the memory's log-odds: additive over sources and
kinds of key, rising with every count for a label, falling with every count against it, bounded, calibrated alone.
w_s is a small network's trust in memory.  It sees how reliable the evidence is, not which way it points, and is 0 where
there is none.  Memory off is w_s = 0: h is the same number either way.

All of it is evaluated in float64 by NumPy, with sums in a fixed order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kie_ops import pair_evidence
from kie_ops.candidates import FEATURES, Candidates
from kie_ops.errors import ModelError
from kie_ops.evidence import KINDS, OUTCOMES, RELIABILITY, Remembered
from kie_ops.learnt import Tally, lowered
from kie_ops.memory import SOURCES
from kie_ops.trust import CONTEXT, TRUST, context, entropy as entropy, sigmoid as sigmoid, trusted

VERSION = 3
TEXT_BOUND = 9.0
MEMORY_BOUND = 9.0
SCALE = np.array([4.0, 4.0, 4.0, 4.0, 4.0, 1.0, 1.0])
"""What FEATURES are divided by."""
STEEPEST = 1.5
"""Bound of the log of the factor that a document gives a source's evidence."""
CLASSES = ("acronym", "one_word", "two_words", "more_words")
"""Kinds of names that a vocabulary is believed of differently: short ones mean many things."""
PAIR_BOUND = 2.0
"""Log-odds that memory adds to a pair, at most: a pair that the text puts further below the threshold stays out."""
SIGNS = np.array([1.0, -1.0, -1.0, -1.0, -1.0])
"""Of OUTCOMES: only being counted as the label speaks for it."""


@dataclass(frozen=True)
class TextGate:
    """h of one scheme: linear in FEATURES / SCALE, plus one hidden layer, plus a bias for each label."""

    linear: np.ndarray          # [features]
    hidden: np.ndarray          # [features, units]
    hidden_bias: np.ndarray     # [units]
    out: np.ndarray             # [units]
    labels: Mapping[str, float]

    def odds(self, candidates: Candidates) -> np.ndarray:
        """float64 [n]: calibrated log-odds by the text alone."""
        x = candidates.features / SCALE
        bias = np.array([self.labels.get(label, 0.0) for label in candidates.labels])[candidates.label]
        h = (x * self.linear).sum(axis=1) + layer(x, self.hidden, self.hidden_bias, self.out) + bias
        return soft_bound(h, TEXT_BOUND)


@dataclass(frozen=True)
class MemoryGate:
    """m and w_s of one scheme."""

    bias: float
    weights: np.ndarray         # [kinds, sources, outcomes], all >= 0; SIGNS gives the direction
    hidden: np.ndarray          # [len(TRUST), units]
    hidden_bias: np.ndarray     # [units]
    out: np.ndarray             # [units]
    out_bias: float
    classes: np.ndarray = field(default_factory=lambda: np.zeros(len(CLASSES)))
    """[len(CLASSES)], all >= 0: further weight of being listed in a vocabulary under this very key."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """Added to the bias for candidates of a label."""
    context: np.ndarray = field(default_factory=lambda: np.zeros(len(CONTEXT)))
    """[len(CONTEXT)], added to the bias: what names are worth here, whatever was counted of this one."""
    steep: np.ndarray = field(default_factory=lambda: np.zeros((len(SOURCES), len(CONTEXT))))
    """[sources, len(CONTEXT)]: log of the factor that a source's evidence has here."""

    def odds(
        self, remembered: Remembered, labels: Sequence[str] | None = None, trust: np.ndarray | None = None
    ) -> np.ndarray:
        """float64 [n]: m, log-odds by memory alone; `labels` of the candidates.

        `trust`: of trust.trusted, in which only the document's other candidates count for each; None: apart from any
        document.
        """
        bias = np.array([self.labels.get(label, 0.0) for label in labels]) if labels is not None else 0.0
        seen = remembered.reliability if trust is None else trust
        return soft_bound(bias + self.raised(remembered.counts, seen, alone=trust is None), MEMORY_BOUND)

    def raised(self, counts: np.ndarray, trust: np.ndarray, *, alone: bool = False) -> np.ndarray:
        """float64 [n]: m before labels and bound; `trust`: of trust.trusted; `alone`: apart from any document."""
        signed = (counts * (self.weights * SIGNS)).sum(axis=(1, 3))
        signed[:, SOURCES.index("vocabulary")] += (vocabulary_classes(counts, trust) * self.classes).sum(axis=1)
        if alone:
            return np.asarray(self.bias + signed.sum(axis=1))
        here = context(trust)
        factor = np.exp(np.clip((here[:, None, :] * self.steep).sum(axis=2), -STEEPEST, STEEPEST))
        return np.asarray(self.bias + (here * self.context).sum(axis=1) + (signed * factor).sum(axis=1))

    def weight(self, trust: np.ndarray) -> np.ndarray:
        """float64 [n] of 0..1: w_s where memory has anything."""
        return sigmoid(layer(trust, self.hidden, self.hidden_bias, self.out) + self.out_bias)

    def soft_weight(self, remembered: Remembered, trust: np.ndarray) -> np.ndarray:
        """float64 [n] of 0..1: w_s; 0 where memory has nothing."""
        return np.where(remembered.present, self.weight(trust), 0.0)


@dataclass(frozen=True)
class Calibration:
    """Log-odds of a pair: scale·logit + bias, plus what further features say (see pair_evidence), plus `trust` times
    the `prior` of the two ends' labels (by :func:`type_name`).  Emitted from the probability `threshold` on; where an
    end has no concept from `unnamed` on, if that is higher.

    What memory says is bounded by PAIR_BOUND: alone it never makes a relation.
    """

    scale: float = 1.0
    bias: float = 0.0
    threshold: float = 0.5
    unnamed: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    prior: Mapping[str, float] = field(default_factory=dict)
    trust: float = 0.0

    def odds(self, logits: np.ndarray) -> np.ndarray:
        return np.clip(self.scale * np.asarray(logits, dtype=np.float64) + self.bias, -30.0, 30.0)

    def odds_of(self, features: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """float64 [pairs, labels] of features [pairs, labels, FEATURES] and the prior of each [pairs, labels]."""
        text = np.array([self.weights.get(name, 0.0) for name in pair_evidence.TEXT])
        memory = np.array([self.weights.get(name, 0.0) for name in pair_evidence.MEMORY])
        logits = features[..., 0] * pair_evidence.LOGIT
        alone = (features[..., : len(text)] * text).sum(axis=-1)
        known = (features[..., len(text) :] * memory).sum(axis=-1)
        z = self.scale * logits + self.bias + alone + self.trust * prior + soft_bound(known, PAIR_BOUND)
        return np.asarray(np.clip(z, -30.0, 30.0))


@dataclass(frozen=True)
class Gate:
    """All that is learnt on top of the text model.

    `thresholds`: probability from which a scheme's span counts.  `dictionary`: share of positive counts from which the
    dictionary that memory is compared with accepts a key.
    """

    text: Mapping[str, TextGate]
    memory: Mapping[str, MemoryGate]
    thresholds: Mapping[str, float]
    relations: Mapping[str, Calibration]
    dictionary: Mapping[str, float]
    own: bool = True
    """Whether decisions use what the pipeline has read itself (source self)."""

    def decide(
        self, candidates: Candidates, remembered: Remembered | None, tallies: Mapping[str, Tally] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(h, w_s, z), float64 [n] each; without memory w_s = 0 and z = h.

        `tallies`: what reviews showed of the text's head, by label; in z its odds are lowered by them (see
        learnt.lowered).  h itself, the text's own score, stays as it is.
        """
        h = self.text[candidates.scheme].odds(candidates)
        if remembered is None:
            return h, np.zeros(len(h)), h
        memory = self.memory[candidates.scheme]
        heard = h.copy()
        for label, made in (tallies or {}).items():
            if label in candidates.labels:
                mine = candidates.label == candidates.labels.index(label)
                heard[mine] += lowered(made)
        trust = trusted(remembered, heard)
        w = memory.soft_weight(remembered, trust)
        m = memory.odds(remembered, [candidates.labels[n] for n in candidates.label], trust)
        return h, w, (1.0 - w) * heard + w * m

    def dump(self) -> dict[str, Any]:
        """As JSON, numbers of six digits: what is loaded again is exactly what is used."""
        return {
            "version": VERSION,
            "features": list(FEATURES),
            "trust": list(TRUST),
            "text": {name: as_json(gate) for name, gate in sorted(self.text.items())},
            "memory": {name: as_json(gate) for name, gate in sorted(self.memory.items())},
            "thresholds": {k: _short(v) for k, v in sorted(self.thresholds.items())},
            "relations": {name: as_json(c) for name, c in sorted(self.relations.items())},
            "dictionary": {k: _short(v) for k, v in sorted(self.dictionary.items())},
            "own": self.own,
        }

    @classmethod
    def parse(cls, data: Any, where: str = "gate.json") -> Gate:
        """Of :meth:`dump`.  Raises ModelError where it is of another version or broken."""
        try:
            made_for = (data["version"], tuple(data["features"]), tuple(data["trust"]))
            if made_for != (VERSION, FEATURES, TRUST):
                raise ModelError("the gate was fitted for another version", where=where,
                                 next_step="python -m kie_ops.training.gate DOMAIN --data FOLDER")
            return cls(
                text={name: TextGate(**_arrays(gate)) for name, gate in data["text"].items()},
                memory={name: MemoryGate(**from_json(gate)) for name, gate in data["memory"].items()},
                thresholds=dict(data["thresholds"]),
                relations={name: Calibration(**c) for name, c in data["relations"].items()},
                dictionary=dict(data["dictionary"]),
                own=bool(data["own"]),
            )
        except (KeyError, TypeError, ValueError) as e:
            raise ModelError(f"the gate is not one: {e!r}", where=where, next_step="restore or fit it again") from None

    @classmethod
    def load(cls, path: Path) -> Gate:
        """Raises ModelError where the file is missing or broken."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError("the domain has no gate", where=str(path),
                             next_step="python -m kie_ops.training.gate DOMAIN --data FOLDER") from None
        except (ValueError, OSError) as e:
            raise ModelError(f"cannot read the gate: {e}", where=str(path), next_step="restore it") from None
        return cls.parse(data, str(path))

    def save(self, path: Path) -> None:
        """Writes gate.json, atomically."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.dump(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)


def type_name(head: str, tail: str, label: str) -> str:
    """How a prior is named: the labels of the two ends, and the relation."""
    return f"{head} > {tail}: {label}"


def soft_bound(z: np.ndarray, bound: float) -> np.ndarray:
    """`z` brought smoothly and monotonically into (-bound, bound)."""
    return np.asarray(bound * np.tanh(z / bound))


def vocabulary_classes(counts: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """float64 [n, len(CLASSES)]: log counts by vocabularies for the label and this very key, at the key's class."""
    listed = counts[:, 0, SOURCES.index("vocabulary"), 0]
    words = np.rint(np.expm1(shape[:, RELIABILITY.index("tokens")])).astype(np.int64)
    which = np.where(shape[:, RELIABILITY.index("acronym")] > 0, 0, np.clip(words, 1, len(CLASSES) - 1))
    return np.asarray(np.where(np.arange(len(CLASSES)) == which[:, None], listed[:, None], 0.0))


def layer(x: np.ndarray, hidden: np.ndarray, hidden_bias: np.ndarray, out: np.ndarray) -> np.ndarray:
    units = np.tanh((x[:, :, None] * hidden).sum(axis=1) + hidden_bias)
    return np.asarray((units * out).sum(axis=1))


def _short(value: float) -> float:
    return float(f"{float(value):.6g}")


def as_json(of: Any) -> dict[str, Any]:
    """A dataclass of numbers and arrays as JSON, six digits each; memory's weights by name, for people."""
    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [plain(v) for v in value]
        return {k: _short(v) for k, v in value.items()} if isinstance(value, Mapping) else _short(value)

    out = {name: plain(getattr(of, name)) for name in of.__dataclass_fields__}
    return out | _weights(of) if isinstance(of, MemoryGate) else out


def from_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :func:`as_json`."""
    return _arrays({**data, **_tensor(data)} if isinstance(data.get("weights"), Mapping) else data)


def _weights(gate: MemoryGate) -> dict[str, dict[str, float]]:
    """Memory's weights by name: for people."""
    return {"weights": {
        f"{source}|{kind}|{outcome}": _short(gate.weights[k, s, o])
        for s, source in enumerate(SOURCES) for k, kind in enumerate(KINDS) for o, outcome in enumerate(OUTCOMES)
    }}


def _tensor(gate: Mapping[str, Any]) -> dict[str, np.ndarray]:
    named = gate["weights"]
    return {"weights": np.array([[[named[f"{s}|{k}|{o}"] for o in OUTCOMES] for s in SOURCES] for k in KINDS])}


def _arrays(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: np.array(v, dtype=np.float64) if isinstance(v, list | np.ndarray) else v for k, v in data.items()}
