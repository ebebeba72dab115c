"""What is decided about the spans of one document in one scheme, with memory on or off."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kie_ops.candidates import Candidates, Names, candidates
from kie_ops.decoding import decode
from kie_ops.domain import Domain
from kie_ops.evidence import Knowledge, remember
from kie_ops.gate import Gate, sigmoid
from kie_ops.memory import Cell


@dataclass(frozen=True, slots=True)
class Decision:
    """A chosen span: words first..last (inclusive).  Scores are probabilities; `soft_weight` is w_s."""

    scheme: str
    label: str
    first: int
    last: int
    score: float
    text_score: float
    soft_weight: float


@dataclass(frozen=True)
class Decided:
    """All candidates of one scheme with their probabilities, float64 [n] each, and the chosen ones."""

    candidates: Candidates
    score: np.ndarray
    text_score: np.ndarray
    soft_weight: np.ndarray
    chosen: tuple[Decision, ...]
    knowledge: Knowledge | None

    @property
    def cells(self) -> Mapping[str, Cell]:
        """What memory recalled; nothing where it was off."""
        return self.knowledge.cells if self.knowledge is not None else {}

    def only(self, labels: Collection[str]) -> Decided:
        """The same with chosen spans of `labels` alone."""
        return replace(self, chosen=tuple(d for d in self.chosen if d.label in labels))


def decide(
    names: Names, domain: Domain, gate: Gate, scheme: str, cells: Mapping[str, Cell] | None = None
) -> Decided:
    """Decides in one scheme; `cells` None or empty: by the text alone."""
    knowledge = Knowledge(cells, scheme) if cells else None
    found = candidates(names, scheme, knowledge.labels() if knowledge else None)
    remembered = remember(names, found, knowledge, own=gate.own) if knowledge else None
    h, weight, z = gate.decide(found, remembered)
    score, text_score = sigmoid(z), sigmoid(h)
    picked = decode(found.first, found.last, found.label, score, gate.thresholds[scheme],
                    nested=domain.schemes[scheme].nested)
    chosen = tuple(
        Decision(scheme, found.labels[int(found.label[i])], int(found.first[i]), int(found.last[i]),
                 float(score[i]), float(text_score[i]), float(weight[i]))
        for i in picked
    )
    return Decided(found, score, text_score, weight, chosen, knowledge)
