"""Strict F1 of a model's own spans and relations, without gate or memory: what training shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kie_ops import dataset
from kie_ops.dataset import Example
from kie_ops.domain import RelationScheme
from kie_ops.model import TextModel
from kie_ops.text_reading import TextReading


@torch.inference_mode()
def dev_scores(model: TextModel, dev: Mapping[str, Sequence[Example]], documents: int | None) -> dict[str, float]:
    """Strict F1 (span and label, threshold 0) by scheme, and of relations between gold spans as ``NAME/relations``."""
    out: dict[str, float] = {}
    for name, examples in dev.items():
        spans, relations = Counts(), Counts()
        relation = model.domain.relations.get(name)
        some = list(examples)[:documents]
        for at in range(0, len(some), 16):
            group = some[at : at + 16]
            for example, reading in zip(group, model.read([e.document for e in group]), strict=True):
                scores = reading.spans[name]
                found = choose(scores.logits, nested=model.domain.schemes[name].nested)
                got = {(*reading.span(i, i + j), scores.labels[k]) for i, j, k in found}
                spans.add(got, {(s.start, s.end, s.label) for s in example.spans})
                if relation is not None:
                    _count_relations(model, example, reading, relation, relations)
        out[name] = spans.f1()
        if relation is not None:
            out[f"{name}/relations"] = relations.f1()
    return out


def _count_relations(
    model: TextModel, example: Example, reading: TextReading, relation: RelationScheme, counts: Counts
) -> None:
    words = model.prepare(example.document.text).words
    heads, tails, holds = dataset.candidate_pairs(example, words, relation)
    logits = model.relate(reading, example.scheme, heads, tails)
    counts.add(*({tuple(at) for at in np.argwhere(m > 0).tolist()} for m in (logits, holds)))


@dataclass(slots=True)
class Counts:
    """Right, found and wanted."""

    right: int = 0
    found: int = 0
    wanted: int = 0

    def add(self, found: set[Any], wanted: set[Any]) -> None:
        self.right += len(found & wanted)
        self.found += len(found)
        self.wanted += len(wanted)

    def f1(self) -> float:
        return 2 * self.right / (self.found + self.wanted) if self.found + self.wanted else 0.0


def choose(logits: np.ndarray, *, nested: bool) -> list[tuple[int, int, int]]:
    """Spans (word, length - 1, label) above 0; best first without overlaps unless `nested`."""
    above = np.argwhere(logits > 0)
    if nested:
        return [(int(i), int(j), int(k)) for i, j, k in above]
    taken = np.zeros(len(logits), dtype=bool)
    out = []
    for at in np.argsort(-logits[tuple(above.T)], kind="stable"):
        i, j, k = (int(v) for v in above[at])
        if not taken[i : i + j + 1].any():
            taken[i : i + j + 1] = True
            out.append((i, j, k))
    return out
