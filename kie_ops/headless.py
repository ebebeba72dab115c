"""Deciding on labels that no head was trained for: what reviews taught (see learnt) and what memory counts.

The same z = w_h·h + w_s·m as for trained labels (see gate), with numbers that serve every domain and label: h is the
log-odds by the learnt head, calibrated by how much it has seen and how well one half of it explains the other; m is
additive over the counts; w_s also sees how far the head may be trusted.  Without reviews h says next to nothing and the
decision is the memory's.  Fitted by training/headless.py on label sets of which no shipped head knows anything.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kie_ops.candidates import BOUND, FEATURES, Candidates, Names, features_of, memory_rows
from kie_ops.errors import ModelError
from kie_ops.evidence import RELIABILITY, Knowledge, Remembered, remember
from kie_ops.gate import SCALE, TEXT_BOUND, MemoryGate, as_json, from_json, layer, soft_bound
from kie_ops.learnt import Learnt
from kie_ops.memory import SOURCES
from kie_ops.trust import trusted

FILE = Path(__file__).parent / "headless.json"
VERSION = 2
MAX_WORDS = 8
"""Longest span that a learnt head proposes; memory proposes longer ones too."""
POSSIBLE = 0.2
"""Mean of the scores of begin, inside and end from which a span is looked at."""
STEEP = 10.0
"""Turns that mean, less one half, into the candidates' own raw log-odds."""
SPAN = ("begin", "end", "mean", "least", "before", "after", "documents", "mentions", "quality", "read")
"""What the gate sees of a span besides FEATURES: scores of its first and last word, of the words in it (mean, least)
and next to it, and how far the head may be trusted; `read`: whether there is a head at all."""
LISTED = ("listed", "covered", "known")
"""And of the document, where a vocabulary lists any of its names as the label: how many (log), which share of the names
that reviews call so is listed, and how many those are (log).  A span that a good list misses is less likely a name."""


@dataclass(frozen=True)
class LearntGate:
    """h: linear in (FEATURES / SCALE, SPAN, LISTED), plus one hidden layer."""

    linear: np.ndarray          # [features]
    hidden: np.ndarray          # [features, units]
    hidden_bias: np.ndarray     # [units]
    out: np.ndarray             # [units]
    bias: float

    def odds(self, x: np.ndarray) -> np.ndarray:
        """float64 [n]: calibrated log-odds by the learnt head alone."""
        z = (x * self.linear).sum(axis=1) + layer(x, self.hidden, self.hidden_bias, self.out) + self.bias
        return soft_bound(z, TEXT_BOUND)


@dataclass(frozen=True)
class Headless:
    """The gate of labels without a head."""

    text: LearntGate
    memory: MemoryGate
    threshold: float

    def decide(self, seen: Seen) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(h, w_s, z), float64 [n] each."""
        h = self.text.odds(seen.x)
        trust = trusted(seen.remembered, h)
        w = self.memory.soft_weight(seen.remembered, trust)
        return h, w, (1.0 - w) * h + w * self.memory.odds(seen.remembered, trust=trust)

    def dump(self) -> dict[str, Any]:
        return {"version": VERSION, "features": [*FEATURES, *SPAN, *LISTED], "reliability": list(RELIABILITY),
                "text": as_json(self.text), "memory": as_json(self.memory), "threshold": self.threshold}

    @classmethod
    def load(cls, path: Path = FILE) -> Headless:
        """Raises ModelError where the file is missing, of another version or broken."""
        again = "python -m kie_ops.training.headless --data FOLDER"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            made_for = data["version"], data["features"], data["reliability"]
            if made_for != (VERSION, [*FEATURES, *SPAN, *LISTED], list(RELIABILITY)):
                raise ModelError("the gate of labels without a head was fitted for another version", where=str(path),
                                 next_step=again)
            return cls(LearntGate(**from_json(data["text"])), MemoryGate(**from_json(data["memory"])),
                       float(data["threshold"]))
        except (OSError, KeyError, TypeError, ValueError) as e:
            raise ModelError(f"cannot read the gate of labels without a head: {e!r}", where=str(path),
                             next_step=f"restore it, or {again}") from None

    def save(self, path: Path = FILE) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.dump(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)


@lru_cache(maxsize=1)
def shipped() -> Headless:
    """The gate that comes with the package, read once."""
    return Headless.load()


@dataclass(frozen=True)
class Seen:
    """Candidates with what the gate sees of them: `x` float64 [n, FEATURES, SPAN and LISTED], and the memories."""

    candidates: Candidates
    x: np.ndarray
    remembered: Remembered


def look(names: Names, scheme: str, labels: Sequence[str], knowledge: Knowledge, head: Learnt) -> Seen:
    """The candidates of `labels` in one document: spans the learnt head finds possible, and what memory knows.

    All begin and end at words where a name may.
    """
    labels = tuple(labels)
    scores = {n: _scores(names, head, label) for n, label in enumerate(labels)}
    own = {row for n, each in scores.items() if each is not None for row in _possible(names, each, n)}
    more = memory_rows(names, labels, knowledge.labels()) - own
    rows = np.array(sorted(own | more), dtype=np.int64).reshape(-1, 3)
    first, last, label = rows[:, 0], rows[:, 1], rows[:, 2]
    remembered = np.array([tuple(row) in more for row in rows.tolist()], dtype=bool)
    span = np.zeros((len(rows), len(SPAN)))
    for n, each in scores.items():
        at = np.flatnonzero(label == n)
        span[at] = _span(each, first[at], last[at], head.amounts(labels[n]))
    raw = np.clip(STEEP * (span[:, :3].mean(axis=1) - 0.5), -BOUND, BOUND)
    raw[span[:, -1] == 0] = -BOUND
    keys = tuple(names.key(f, e) for f, e in zip(first.tolist(), last.tolist(), strict=True))
    features = features_of(first, last, label, keys, raw, ~remembered, len(labels))
    found = Candidates(scheme, labels, first, last, label, features, remembered, keys)
    known = remember(names, found, knowledge)
    trust = np.column_stack([known.reliability, span[:, SPAN.index("documents"):]])
    return Seen(found, np.column_stack([features / SCALE, span, _listed(found, known)]),
                replace(known, reliability=trust))


def without_head(names: Names, scheme: str, declared: Collection[str], knowledge: Knowledge, head: Learnt) -> list[str]:
    """Labels to be decided without a trained head: declared by the domain, counted in memory, or learnt."""
    counted = {label for labels in knowledge.labels().values() for label in labels}
    trained = names.reading.spans[scheme].labels if scheme in names.reading.spans else ()
    return sorted(({*declared} | counted | {*head.labels}) - {*trained})


def _scores(names: Names, head: Learnt, label: str) -> np.ndarray | None:
    """float64 [words + 2, TARGETS]: the learnt head's, with a row of zeros at both ends; None without a head."""
    traits = names.reading.traits
    if label not in head.labels or len(traits) != len(names.surfaces.tokens) or not len(traits):
        return None
    return np.pad(head.words(traits, label), ((1, 1), (0, 0)))


def _possible(names: Names, scores: np.ndarray, label: int) -> set[tuple[int, int, int]]:
    """(first, last, label) of spans within a sentence with edges where a name may begin and end, and a key."""
    begin, inside, end = scores[1:-1].T
    edge = np.array([t.edge for t in names.surfaces.tokens], dtype=bool)
    sentence = names.reading.sentence_of()
    total = np.concatenate([[0.0], np.cumsum(inside)])
    out: set[tuple[int, int, int]] = set()
    for k in range(min(MAX_WORDS, len(edge))):
        n = len(edge) - k
        mean = (total[k + 1 :] - total[:n]) / (k + 1)
        good = (begin[:n] + end[k:] + mean) / 3 > POSSIBLE
        good &= edge[:n] & edge[k:] & (sentence[:n] == sentence[k:])
        out.update((f, f + k, label) for f in np.flatnonzero(good).tolist() if names.key(f, f + k) is not None)
    return out


def _span(scores: np.ndarray | None, first: np.ndarray, last: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """float64 [n, SPAN]."""
    out = np.zeros((len(first), len(SPAN)))
    if scores is None:
        return out
    inside = scores[:, 1]
    for i, (f, e) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        words = inside[f + 1 : e + 2]
        out[i, :6] = scores[f + 1, 0], scores[e + 1, 2], words.mean(), words.min(), inside[f], inside[e + 2]
    out[:, 6:9] = amounts
    out[:, 9] = 1.0
    return np.clip(out, -1.0, 2.0)


def _listed(found: Candidates, known: Remembered) -> np.ndarray:
    """float64 [n, LISTED], by label."""
    out = np.zeros((len(found), len(LISTED)))
    said = known.counts[:, 0, :, :] > 0
    listed = said[:, SOURCES.index("vocabulary"), 0]
    raw = np.expm1(known.counts[:, 0, SOURCES.index("reviewer")])
    named = raw[:, 0] > raw[:, 1:].sum(axis=1)
    for label in range(len(found.labels)):
        mine = found.label == label
        keys = [{found.keys[n] for n in np.flatnonzero(mine & which).tolist()} for which in (listed, named)]
        if not keys[0]:
            continue  # as if there were no vocabulary: a document cannot tell
        both = len(keys[0] & keys[1])
        out[mine] = np.log1p(len(keys[0])) / 2, (both + 0.5) / (len(keys[1]) + 1), np.log1p(len(keys[1])) / 2
    return out


def empty(scheme: str) -> Candidates:
    """No candidates at all."""
    none = np.zeros(0, dtype=np.int64)
    return Candidates(scheme, (), none, none, none, np.zeros((0, len(FEATURES))), np.zeros(0, dtype=bool), ())


