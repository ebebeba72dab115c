"""What one correction by name does in a stream: a name taught once, a span rejected once.

The reader of a stream corrects a name when it first goes wrong; from the next document on every place of that key
counts.  The same places are counted with memory off, so that what was never wrong again by itself is no merit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kie_ops.contributions import of_correction
from kie_ops.errors import InputError
from kie_ops.evaluation.standing import f1_of
from kie_ops.evaluation.streams import Read, Stream, look, order
from kie_ops.memory import Cell, Contribution
from kie_ops.overlay import Overlay

Place = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Side:
    """Later places of the corrected keys: recall on gold, F1."""

    recall: float
    precision: float
    f1: float


@dataclass(frozen=True, slots=True)
class Taught:
    """`keys` were corrected once each; `gold` mentions of them came later, in the mean order; memory off and on."""

    keys: float
    gold: float
    off: Side
    on: Side


@dataclass(frozen=True, slots=True)
class Rejected:
    """`keys` were rejected once each.  Later places that are no mention and that memory off reads again: `would_come`,
    in the mean order; `comes_back`: share of them that memory on still reads (None without any).  `gold`: later places
    that are a mention after all, `lost`: share of those memory off finds and memory on does not.
    """

    keys: float
    would_come: float
    comes_back: float | None
    gold: float
    lost: float | None


def teach_once(stream: Stream, memory: Mapping[str, Cell], *, orders: int = 10) -> Taught:
    """A name missed or read under another label is corrected once, by name (streams are read with `memory` alone)."""
    runs = [_teach(stream, memory, seed) for seed in range(orders)]
    counts = np.sum([c for _, c in runs], axis=0)
    return Taught(
        float(np.mean([k for k, _ in runs])), float(counts[0, 2]) / orders, _side(counts[0]), _side(counts[1]))


def reject_once(stream: Stream, memory: Mapping[str, Cell], *, orders: int = 10) -> Rejected:
    """A span that memory on reads and that is no mention is rejected once, by name."""
    runs = [_reject(stream, memory, seed) for seed in range(orders)]
    would, back, gold, lost = (int(n) for n in np.sum([c for _, c in runs], axis=0))
    return Rejected(float(np.mean([k for k, _ in runs])), would / orders, back / would if would else None,
                    gold / orders, lost / gold if gold else None)


def as_json(found: Taught | Rejected) -> dict[str, Any]:
    return asdict(found)


def _teach(stream: Stream, base: Mapping[str, Cell], seed: int) -> tuple[int, np.ndarray]:
    """(keys taught, int64 [off and on, 3] counts at their later places)."""
    taught: set[str] = set()
    counts = np.zeros((2, 3), dtype=np.int64)
    for read, off, on, gold, memory in _read(stream, base, seed):
        for n, predicted in enumerate((off, on)):
            p, g = (_of(read, spans, taught) for spans in (predicted, gold))
            counts[n] += [len(p & g), len(p), len(g)]
        wrong = sorted(gold - on)
        for key in sorted(_keys(read, wrong) - taught):
            place = next(w for w in wrong if read.sketch.names.key(w[0], w[1]) == key)
            said = _correction(stream, read, place, reject=False)
            if said is not None:
                taught.add(key)
                memory.add(said)
    return len(taught), counts


def _reject(stream: Stream, base: Mapping[str, Cell], seed: int) -> tuple[int, np.ndarray]:
    """(keys rejected, [would come, comes back, gold that memory off finds, of it lost])."""
    rejected: set[str] = set()
    counts = np.zeros(4, dtype=np.int64)
    for read, off, on, gold, memory in _read(stream, base, seed):
        again = {p[:2] for p in _of(read, off - gold, rejected)}
        right = _of(read, off & gold, rejected)
        counts += [len(again), len(again & {p[:2] for p in on - gold}), len(right), len(right - on)]
        nothing = {g[:2] for g in gold}
        for place in sorted(p for p in on - gold if p[:2] not in nothing):
            key = read.sketch.names.key(place[0], place[1])
            said = _correction(stream, read, place, reject=True) if key is not None and key not in rejected else None
            if key is not None and said is not None:
                rejected.add(key)
                memory.add(said)
    return len(rejected), counts


def _read(
    stream: Stream, base: Mapping[str, Cell], seed: int
) -> Iterator[tuple[Read, set[Place], set[Place], set[Place], Overlay]]:
    """(document, memory off, memory on, gold, memory to add to) in order; places are words, with labels."""
    memory = Overlay(base)
    for number in order(len(stream.reads), seed):
        read = stream.reads[number]
        on, off = (
            {(d.first, d.last, d.label) for d in chosen}
            for chosen in (look(stream, read, number, memory.only(read.keys)).chosen,
                           read.alone.only(stream.labels).chosen)
        )
        gold = {(m.first, m.last, m.label) for m in read.gold if m.label in stream.labels}
        yield read, off, on, gold, memory


def _correction(stream: Stream, read: Read, place: Place, *, reject: bool) -> Contribution | None:
    """As a person says it: the text, and its label; None where such a text cannot be remembered."""
    first, last, label = place
    start, end = read.sketch.span(first, last)
    key = read.sketch.names.key(first, last)
    text = read.example.document.text[start:end]
    if key is None:
        return None
    try:
        return of_correction(stream.domain, f"teach:{key}", text, label=label, reject=reject, scheme=stream.scheme,
                             doc_id=read.example.document.doc_id)
    except InputError:
        return None


def _keys(read: Read, places: Sequence[Place]) -> set[str]:
    return {key for f, e, _ in places if (key := read.sketch.names.key(f, e)) is not None}


def _of(read: Read, places: set[Place], keys: set[str]) -> set[Place]:
    return {p for p in places if read.sketch.names.key(p[0], p[1]) in keys}


def _side(counts: np.ndarray) -> Side:
    tp, predicted, gold = (int(c) for c in counts)
    return Side(tp / gold if gold else 0.0, tp / predicted if predicted else 0.0, float(f1_of(counts)))
