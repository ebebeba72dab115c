"""What is decided about the spans of one document in one scheme, with memory on or off."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kie_ops.candidates import Candidates, Names, candidates, joined
from kie_ops.decoding import decode
from kie_ops.domain import Domain
from kie_ops.evidence import Knowledge, remember
from kie_ops.gate import Gate, sigmoid
from kie_ops.headless import empty, look, shipped, without_head
from kie_ops.learnt import NOTHING, Learnt, distrusted, learnt
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


@dataclass(frozen=True)
class _Judged:
    """Candidates with h, w_s and z, float64 [n] each."""

    found: Candidates
    h: np.ndarray
    weight: np.ndarray
    z: np.ndarray


def decide(
    names: Names, domain: Domain, gate: Gate, scheme: str, cells: Mapping[str, Cell] | None = None
) -> Decided:
    """Decides in one scheme; `cells` None or empty: by the text alone.

    Labels that the model has no head for are decided by what reviews taught and memory counts (see headless): those
    that the domain's scheme declares (Domain.with_scheme), and those that `cells` know in this scheme, which then need
    not be declared.  `cells` should hold the scheme's learnt cell, which Extractor.keys asks for.
    """
    if not cells:
        return _decided(names, domain, gate, scheme, [_by_head(names, gate, scheme, None, NOTHING)], None)
    knowledge, head = Knowledge(cells, scheme), learnt(cells, scheme)
    judged = [_by_head(names, gate, scheme, knowledge, head)]
    declared = domain.schemes[scheme].labels if scheme in domain.schemes else ()
    labels = {*without_head(names, scheme, declared, knowledge, head), *distrusted(head)}
    if labels:
        seen = look(names, scheme, sorted(labels), knowledge, head)
        judged.append(_Judged(seen.candidates, *shipped().decide(seen)))
    return _decided(names, domain, gate, scheme, judged, knowledge)


def _by_head(names: Names, gate: Gate, scheme: str, knowledge: Knowledge | None, head: Learnt) -> _Judged:
    """The labels of the scheme's own head; those that reviews show to be mostly wrong are left to the learnt one."""
    if scheme not in names.reading.spans or scheme not in gate.text:
        nothing = np.zeros(0)
        return _Judged(empty(scheme), nothing, nothing, nothing)
    found = candidates(names, scheme, knowledge.labels() if knowledge else None)
    wrong = distrusted(head)
    if wrong:
        found = found.only(np.array([label not in wrong for label in found.labels], dtype=bool)[found.label])
    remembered = remember(names, found, knowledge, own=gate.own) if knowledge else None
    return _Judged(found, *gate.decide(found, remembered, head.tallies))


def _decided(
    names: Names, domain: Domain, gate: Gate, scheme: str, judged: Sequence[_Judged], knowledge: Knowledge | None
) -> Decided:
    found, order = joined([j.found for j in judged])
    h, weight, z = (np.concatenate([getattr(j, n) for j in judged])[order] for n in ("h", "weight", "z"))
    score, text_score = sigmoid(z), sigmoid(h)
    threshold = gate.thresholds[scheme] if scheme in gate.thresholds else shipped().threshold
    nested = scheme in domain.schemes and domain.schemes[scheme].nested
    picked = decode(found.first, found.last, found.label, score, threshold, nested=nested)
    chosen = tuple(
        Decision(scheme, found.labels[int(found.label[i])], int(found.first[i]), int(found.last[i]),
                 float(score[i]), float(text_score[i]), float(weight[i]))
        for i in picked
    )
    return Decided(found, score, text_score, weight, chosen, knowledge)
