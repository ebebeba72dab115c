"""What memory says of a candidate, as numbers (for the gate) and as rows (for people)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from kie_ops.candidates import Candidates, Names
from kie_ops.learnt import PREFIX
from kie_ops.memory import PROTOTYPE_WIDTH, SOURCES, Cell, split_field
from kie_ops.records import Evidence
from kie_ops.surface import is_acronym

KINDS = ("exact", "back_off")
OUTCOMES = ("entity", "other", "part", "crossing", "none")
"""Of a label: counted as it, as another label, as part of a longer mention, across a border, as nothing."""
RELIABILITY = (
    "mass_training", "mass_vocabulary", "mass_reviewer", "mass_correction", "mass_self", "mass_back_off", "conflict",
    "conflict_people", "exact", "tokens", "acronym", "entropy", "agreement", "agreement_known",
)
"""What the trust in memory may depend on: log counts by source, how far they contradict each other, the kind of key,
the tagger's entropy, and whether the span's prototype resembles the remembered ones.  Never which way they point."""
SELF = SOURCES.index("self")
PEOPLE = SOURCES.index("reviewer"), SOURCES.index("correction")
PART, CORRECTION = OUTCOMES.index("part"), SOURCES.index("correction")
SURE = 2.0
"""The tagger's own log-odds from which a longer span is taken to be what a taught name in it belongs to."""
MANY = 6
"""Evidence rows kept for a mention."""


@dataclass(slots=True)
class Facts:
    """A cell as one scheme sees it: counts by source, and by label where there is one."""

    entity: dict[tuple[str, str], int] = field(default_factory=dict)
    part: dict[str, int] = field(default_factory=dict)
    crossing: dict[str, int] = field(default_factory=dict)
    none: dict[str, int] = field(default_factory=dict)
    concepts: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """(label, concept) -> counts by source."""
    broader: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """(label, concept) -> steps by ancestor, of concepts that a vocabulary gives the same name."""
    examples: dict[str, str] = field(default_factory=dict)
    prototypes: dict[str, np.ndarray] = field(default_factory=dict)


@lru_cache(maxsize=1 << 15)
def _parts(name: str) -> tuple[str, str, str, tuple[str, ...]]:
    return split_field(name)


def facts(cell: Cell, scheme: str) -> Facts:
    """The fields of `cell` that belong to `scheme`; counts below one are nothing."""
    out = Facts()
    for name, count in cell.counts.items():
        source, whose, outcome, rest = _parts(name)
        if whose != scheme or count <= 0 or source not in SOURCES:
            continue
        if outcome == "entity":
            out.entity[source, rest[0]] = count
        elif outcome in ("part", "crossing", "none"):
            counts = getattr(out, outcome)
            counts[source] = counts.get(source, 0) + count
        elif outcome == "concept" and len(rest) > 1:
            counts = out.concepts.setdefault((rest[0], rest[1].replace("¦", "|")), {})
            counts[source] = counts.get(source, 0) + count
        elif outcome == "broader" and len(rest) > 3:
            out.broader.setdefault((rest[0], rest[1]), {})[rest[2]] = int(rest[3])
        elif outcome == "example":
            out.examples[source] = min(rest[0], out.examples.get(source, rest[0]))
    for name, packed in cell.vectors.items():
        source, whose, outcome, rest = _parts(name)
        if whose == scheme and outcome == "prototype":
            vector = np.frombuffer(packed, dtype="<i4").astype(np.float64)
            out.prototypes[rest[0]] = out.prototypes.get(rest[0], np.zeros(PROTOTYPE_WIDTH)) + vector
    return out


class Knowledge:
    """Cells as seen by one scheme, each looked into once."""

    def __init__(self, cells: Mapping[str, Cell], scheme: str) -> None:
        self.cells, self.scheme = cells, scheme
        self._facts: dict[str, Facts | None] = {}

    def get(self, key: str) -> Facts | None:
        if key not in self._facts:
            cell = self.cells.get(key)
            self._facts[key] = None if cell is None else facts(cell, self.scheme)
        return self._facts[key]

    def labels(self) -> dict[str, set[str]]:
        """Labels under which a key is known as an entity, by key, from others than the pipeline itself.

        What it read itself may back or weaken what the tagger finds possible; it proposes nothing, so that a name
        misread some times in a long stream does not come to be read everywhere.
        """
        out: dict[str, set[str]] = {}
        for key in self.cells:
            known = self.get(key) if not key.startswith(PREFIX) else None
            labels = {label for source, label in known.entity if source != "self"} if known is not None else set()
            if labels:
                out[key] = labels
        return out


@dataclass(frozen=True)
class Remembered:
    """What memory says of n candidates.

    `counts`: float64 [n, kinds, sources, outcomes], log(1 + count).  `reliability`: float64 [n, len(RELIABILITY)]; its
    entropy column is left 0, the gate fills it.  `present`: bool [n], whether there is any evidence.
    """

    counts: np.ndarray
    reliability: np.ndarray
    present: np.ndarray


def remember(names: Names, candidates: Candidates, knowledge: Knowledge, *, own: bool = True) -> Remembered:
    """Evidence of the cells for each candidate; `own`: with what the pipeline has read itself."""
    n = len(candidates)
    raw = np.zeros((n, len(KINDS), len(SOURCES), len(OUTCOMES)))
    agreement = np.zeros((n, 2))
    shape = np.zeros((n, 2))
    places = zip(candidates.first.tolist(), candidates.last.tolist(), candidates.label.tolist(), strict=True)
    for i, (key, (first, last, label)) in enumerate(zip(candidates.keys, places, strict=True)):
        if key is None:
            continue
        name = candidates.labels[label]
        exact = knowledge.get(key)
        if exact is not None:
            raw[i, 0] += counted(exact, name)
            if name in exact.prototypes:
                agreement[i] = _cosine(names, first, last, exact.prototypes[name]), 1.0
        for other in names.back_off(first, last):
            near = knowledge.get(other)
            if near is not None:
                raw[i, 1] += counted(near, name)
        shape[i] = np.log1p(key.count(" ") + 1), is_acronym(key)
    if not own:
        raw[:, :, SELF] = 0.0
    for source in PEOPLE:
        raw[_within_named(candidates, raw[:, 0, source]), 0, source, PART] += 1
    raw[_within_found(candidates, raw[:, 0, CORRECTION]), 0, CORRECTION, PART] += 1
    counts = np.log1p(raw)
    return Remembered(counts, reliability(raw, agreement, shape), raw.sum(axis=(1, 2, 3)) > 0)


def _within_named(candidates: Candidates, said: np.ndarray) -> np.ndarray:
    """Numbers of candidates that lie in a longer one which people call an entity: here they are its part.

    `said`: float64 [n, outcomes], what reviews, or corrections, counted of the exact keys.
    """
    return _inside(candidates, np.flatnonzero(said[:, 0] > said[:, PART:].sum(axis=1)))


def _within_found(candidates: Candidates, said: np.ndarray) -> np.ndarray:
    """Numbers of candidates that a correction calls an entity and that lie in a longer one which the tagger finds: who
    teaches *oedema* does not mean the one in *pulmonary oedema*.  Unless a correction has rejected the longer one.
    """
    found = (candidates.features[:, 0] > SURE) & ~candidates.remembered & (said[:, 1:].sum(axis=1) == 0)
    taught = np.flatnonzero(said[:, 0] > said[:, 1:].sum(axis=1))
    return np.intersect1d(_inside(candidates, np.flatnonzero(found)), taught)


def _inside(candidates: Candidates, whole: np.ndarray) -> np.ndarray:
    """Numbers of candidates that lie in a longer one of those numbered `whole`."""
    first, last = candidates.first, candidates.last
    inside = np.zeros(len(candidates), dtype=bool)
    for f, e in sorted({(int(first[i]), int(last[i])) for i in whole}):
        low, high = np.searchsorted(first, [f, e + 1])
        some = slice(int(low), int(high))
        inside[some] |= (last[some] <= e) & (last[some] - first[some] < e - f)
    return np.flatnonzero(inside)


def counted(known: Facts, label: str) -> np.ndarray:
    """float64 [sources, outcomes]: raw counts as one label sees them."""
    out = np.zeros((len(SOURCES), len(OUTCOMES)))
    for (source, other), count in known.entity.items():
        out[SOURCES.index(source), 0 if other == label else 1] += count
    for outcome in ("part", "crossing", "none"):
        for source, count in getattr(known, outcome).items():
            out[SOURCES.index(source), OUTCOMES.index(outcome)] += count
    return out


def _cosine(names: Names, first: int, last: int, total: np.ndarray) -> float:
    mine = np.array(names.reading.prototype(first, last), dtype=np.float64)
    size = float(np.sqrt((mine * mine).sum() * (total * total).sum()))
    return float((mine * total).sum() / size) if size else 0.0


def reliability(raw: np.ndarray, agreement: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """float64 [n, len(RELIABILITY)] of raw counts [n, kinds, sources, outcomes]; `agreement`, `shape`: [n, 2] each."""
    mass = raw.sum(axis=3)
    both = np.stack([raw[..., 0], raw[..., 1:].sum(axis=3)], axis=-1)
    everything = both.sum(axis=(1, 2))
    conflict = everything.min(axis=1) / np.maximum(everything.sum(axis=1), 1.0)
    said = both[:, :, PEOPLE].sum(axis=(1, 2))
    return np.column_stack([
        np.log1p(mass[:, 0]), np.log1p(mass[:, 1].sum(axis=1)), conflict,
        said.min(axis=1) / np.maximum(said.sum(axis=1), 1.0), mass[:, 0].sum(axis=1) > 0, shape,
        np.zeros(len(raw)), agreement,
    ]).astype(np.float64)


def rows(names: Names, first: int, last: int, scheme: str, knowledge: Knowledge) -> tuple[Evidence, ...]:
    """The memories of a mention as rows: exact key first, largest counts first, at most MANY."""
    key = names.key(first, last)
    out: list[tuple[int, Evidence]] = []
    for rank, probe in enumerate(dict.fromkeys((key, *names.back_off(first, last))) if key else ()):
        known = knowledge.get(probe)
        if known is None:
            continue
        counts = [(s, "entity", label, n) for (s, label), n in known.entity.items()]
        counts += [(s, o, "", n) for o in ("part", "crossing", "none") for s, n in getattr(known, o).items()]
        out += [(rank, Evidence(probe, s, o, label, n, known.examples.get(s))) for s, o, label, n in counts]
    out.sort(key=lambda e: (e[0], -e[1].count, e[1].source, e[1].outcome, e[1].label))
    return tuple(e for _, e in out[:MANY])


def concept_rows(
    names: Names, first: int, last: int, label: str, concept: str | None, knowledge: Knowledge
) -> tuple[Evidence, ...]:
    """The memories that gave a mention its concept: outcome concept, label ``LABEL|SYSTEM:ID|RELEASE``.

    Of the first key that knows it, exact before back-off.  A shared ancestor has none of its own.
    """
    key = names.key(first, last)
    if key is None or concept is None:
        return ()
    for probe in dict.fromkeys((key, *names.back_off(first, last))):
        cell, out = knowledge.cells.get(probe), []
        for name, count in cell.counts.items() if cell is not None else ():
            source, whose, outcome, rest = _parts(name)
            if (whose, outcome, rest[:2]) == (knowledge.scheme, "concept", (label, concept.replace("|", "¦"))):
                out.append(Evidence(probe, source, outcome, "|".join(rest), count))
        if out:
            return tuple(sorted((e for e in out if e.count > 0), key=lambda e: (-e.count, e.source, e.label)))
    return ()
