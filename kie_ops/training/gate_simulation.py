"""Streams on which the gate learns: dev documents in order, read with memories of many kinds.

A plan says how much of the training memory there is, how much of it is wrong, which sources are missing, and how many
past documents were written by the pipeline itself, reviewed whole (rightly or wrongly), or corrected name by name;
what vocabularies there are, and how far the tagger knows the texts' names.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kie_ops import contributions
from kie_ops.candidates import Candidates, candidates
from kie_ops.dataset import Example
from kie_ops.decisions import Decided
from kie_ops.evaluation.attacks import BOUNDARY, COMMON_WORDS, RANDOM, SYSTEMATIC, Attack, common_words, wrong
from kie_ops.evidence import OUTCOMES, RELIABILITY, Knowledge, Remembered, reliability, remember
from kie_ops.extractor import Sketch
from kie_ops.gate import TextGate
from kie_ops.memory import SOURCES, Cell, Contribution, Increment, field, split_field
from kie_ops.overlay import Overlay
from kie_ops.priming import cells_of, marked, marks
from kie_ops.surface import key_of_text, written
from kie_ops.training.gate_fit import Evidenced
from kie_ops.trust import ENTROPY, entropy, trusted


@dataclass(frozen=True, slots=True)
class Plan:
    """`training`: share of annotated documents in memory; `vocabulary`: share of all names that a vocabulary holds;
    `wrong`: share of cells whose labels are made wrong; `own`: whether documents write themselves; `reviewed`: share
    of past documents that a person saw, WHOLE of them whole, the others name by name; `attack`, `attacked`: what kind
    of reviewer is wrong (see attacks), in which share of the marks; `shift`: share of names that the tagger does not
    know, as where texts are of another kind than those it learnt from; `careless`: how many of the terms that are no
    names here a vocabulary holds, times the shares below.
    """

    training: float
    vocabulary: float = 0.0
    wrong: float = 0.0
    own: bool = True
    reviewed: float = 0.0
    attack: str = ""
    attacked: float = 0.1
    shift: float = 0.0
    careless: float = 1.0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong: memory, reviewers, and a tagger at home in the texts."""
        return not (self.wrong or self.attack or self.shift)


TRUSTED = 0.99
"""How often a correction by name is taken to be right."""
DOUBTED = 0.3
"""The same of a word that calls an entity what was nothing in more than ORDINARY documents."""
ORDINARY = 12.0
WHOLE = 0.7
MANY = 100
"""How much longer than the dev stream a real one may be."""
FEW = 3
"""Counts below this say too little of a ratio."""
CARELESS, BESIDE, POSSIBLE, GENERAL = 0.00125, 0.0125, 0.09, 0.04
"""Shares of what a vocabulary holds as names though it is none here: of ordinary words, of words that stand beside
names (kinds and degrees of diseases), of what the tagger finds possible and annotators did not mark, of parts of names.
With these, two thirds of the places of listed names that training does not know are right, and a tenth of those that
the tagger does not find, as with real vocabularies on texts of the tagger's own kind (measured on dev)."""
HIDDEN = 0.25
"""How much rarer in a vocabulary are names that the tagger does not know."""
SAMPLED = 0.5
"""Share of a stream's documents that the gate learns from."""
SELF, TRAINING, CORRECTION = SOURCES.index("self"), SOURCES.index("training"), SOURCES.index("correction")
REVIEWER, NONE, OTHER = SOURCES.index("reviewer"), OUTCOMES.index("none"), OUTCOMES.index("other")
FULL = Plan(1.0)
USUAL = Plan(1.0, vocabulary=0.75, reviewed=0.3)
PLANS = (
    FULL, USUAL, Plan(1.0, reviewed=0.1), Plan(1.0, reviewed=1.0), Plan(1.0, vocabulary=0.75),
    Plan(1.0, reviewed=1.0, attack=COMMON_WORDS), Plan(1.0, reviewed=0.5, attack=RANDOM),
    Plan(1.0, reviewed=1.0, attack=BOUNDARY), Plan(0.3, vocabulary=0.75, reviewed=1.0, attack=SYSTEMATIC),
    Plan(0.1, wrong=0.1, reviewed=0.3), Plan(0.0, vocabulary=0.75), Plan(0.0, reviewed=0.3), Plan(0.0, reviewed=1.0),
    Plan(0.0, reviewed=1.0, attack=RANDOM),
    Plan(0.0, vocabulary=0.75, shift=0.5, careless=0.2), Plan(1.0, reviewed=0.1, shift=0.5),
    Plan(0.3, reviewed=1.0, shift=0.5), Plan(0.3, reviewed=1.0, shift=0.6, attack=COMMON_WORDS),
    Plan(1.0, vocabulary=0.75, reviewed=0.3, shift=0.3, careless=0.2),
    Plan(1.0, vocabulary=0.75, shift=0.6, careless=0.2),
)


@dataclass(frozen=True)
class Item:
    """A dev document: what the text says, decisions with memory off, what it writes itself."""

    example: Example
    sketch: Sketch
    alone: Decided
    own: Contribution


@dataclass(frozen=True)
class Sample:
    """One document read with one memory.  `h`: float64 [candidates], the text's odds, as the plan's tagger has them;
    `right`: bool [candidates].
    """

    item: Item
    candidates: Candidates
    remembered: Remembered
    h: np.ndarray
    right: np.ndarray


def stream(
    items: Sequence[Item], text: TextGate, base: Mapping[str, Cell], plan: Plan, rng: np.random.Generator,
    *, own: bool = True,
) -> Iterator[Sample]:
    """The documents in order, each read with `base` and what those before it left, as `plan` says.

    `own`: whether the gate sees what the pipeline has read itself.
    """
    memory = Overlay(base)
    seed = _seed(plan)
    common = common_words((i.sketch.names, marked(i.example, i.sketch.names)) for i in items) if plan.attack else None
    attack = Attack(plan.attack, plan.attacked, seed, common) if common is not None else None
    for item in items:
        names, scheme = item.sketch.names, item.example.scheme
        if plan == FULL or rng.random() < SAMPLED:
            knowledge = Knowledge(memory.only(item.sketch.keys), scheme)
            found = candidates(names, scheme, knowledge.labels())
            truth = right(item.example, item.sketch, found)
            h = shifted(found, text.odds(found), truth, plan.shift, seed)
            yield Sample(item, found, remember(names, found, knowledge, own=own), h, truth)
        if plan.own:
            memory.add(item.own)
        if rng.random() < plan.reviewed:
            whole = attack is not None or rng.random() < WHOLE
            memory.add(_review(item, attack) if whole else _corrections(item))


def _seed(plan: Plan) -> int:
    return zlib.crc32(repr(plan).encode())


def shifted(found: Candidates, h: np.ndarray, truth: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Text odds of a tagger that does not know `share` of the names, and takes some others for names."""
    out = h.copy()
    for n, key in enumerate(found.keys if share else ()):
        rng = _of_key(key or "", seed)
        if rng.random() < (share if truth[n] else share / 20):
            out[n] = min(h[n], rng.uniform(-7.0, -0.5)) if truth[n] else max(h[n], rng.uniform(-1.0, 3.0))
    return out


def _of_key(key: str, seed: int) -> np.random.Generator:
    """What is drawn for a key is the same wherever it is drawn: its first number says whether the tagger knows it."""
    return np.random.default_rng([seed, zlib.crc32(key.encode())])


def _elsewhere(cells: Mapping[str, Cell], share: float, seed: int) -> dict[str, Cell]:
    """Training memory of texts or rules of another kind: names that the tagger does not know are none of its names
    either; it has not seen them, or (half of them) has counted them as nothing.
    """
    out: dict[str, Cell] = {}
    for key, cell in cells.items():
        rng = _of_key(key, seed)
        counts = dict(cell.counts)
        if rng.random() < share:
            nothing = rng.random() < 0.5
            for name in cell.counts:
                source, scheme, outcome, _ = split_field(name)
                if source == "training" and outcome == "entity":
                    number = counts.pop(name)
                    if nothing:
                        none = field("training", scheme, "none")
                        counts[none] = counts.get(none, 0) + number
        out[key] = replace(cell, counts=counts)
    return out


def _review(item: Item, attack: Attack | None) -> Contribution:
    """All that a person says of a document, rightly or wrongly."""
    example, names = item.example, item.sketch.names
    gold = marked(example, names)
    if attack is not None:
        gold = wrong(gold, names, attack, item.alone.candidates.labels)
    return contributions.of_review("", names, gold, item.alone, example.document.doc_id)


def _corrections(item: Item) -> Contribution:
    """What a person says of what was read wrongly in a document, name by name."""
    example = item.example
    gold = marked(example, item.sketch.names)
    text, scheme = example.document.text, example.scheme
    have = {(d.first, d.last, d.label) for d in item.alone.chosen}
    want = {(m.first, m.last, m.label) for m in gold}
    out: dict[tuple[str, str], Increment] = {}
    for first, last, label in sorted(have ^ want):
        added = (first, last, label) in want
        if not added and any((first, last) == (f, e) for f, e, _ in want):
            continue  # relabelled: the right label says it all
        start, end = item.sketch.span(first, last)
        key = key_of_text(text[start:end])
        name = field("correction", scheme, "entity", label) if added else field("correction", scheme, "none")
        out.update({(k, name): Increment(k, name, 1) for k in (written(key) if key else ())})
    return Contribution("", tuple(out.values()))


def right(example: Example, sketch: Sketch, found: Candidates) -> np.ndarray:
    """bool [candidates]: whether the gold spans hold it."""
    gold = {(first, last, label) for first, last, _, label in marks(example, sketch.names)}
    rows = zip(found.first.tolist(), found.last.tolist(), found.label.tolist(), strict=True)
    return np.array([(f, e, found.labels[y]) in gold for f, e, y in rows], dtype=bool)


def base(
    training: Sequence[Contribution], plan: Plan, rng: np.random.Generator, items: Sequence[Item] = ()
) -> dict[str, Cell]:
    """The memory a stream of `items` starts with."""
    some = [c for c in training if rng.random() < plan.training]
    cells = cells_of([*some, _vocabulary(training, items, plan, rng)])
    if plan.shift:
        cells = _elsewhere(cells, plan.shift, _seed(plan))
    return _spoilt(cells, plan.wrong, rng) if plan.wrong else cells


def _vocabulary(
    training: Sequence[Contribution], items: Sequence[Item], plan: Plan, rng: np.random.Generator
) -> Contribution:
    """A part of the names as a vocabulary has them: once, whatever they mean elsewhere; names of the documents to be
    read as well as annotated ones, and terms that are no names: general parts of names, ordinary words.
    """
    share = plan.vocabulary
    terms: dict[tuple[str, str], float] = {}
    for contribution in training if share else ():
        for i in contribution.increments:
            _, scheme, outcome, rest = split_field(i.field)
            if outcome == "entity":
                terms.setdefault((i.key, field("vocabulary", scheme, "entity", rest[0])), share)
    for item in items if share else ():
        for key, label, probability in _listed(item, share, plan.careless):
            at = key, field("vocabulary", item.example.scheme, "entity", label)
            terms[at] = max(probability, terms.get(at, 0.0))
    return Contribution("", tuple(Increment(k, f, 1) for (k, f), p in terms.items() if rng.random() < p))


def _listed(item: Item, share: float, careless: float) -> Iterator[tuple[str, str, float]]:
    """(key, label, probability) of what a vocabulary may hold of a document's text."""
    names, gold = item.sketch.names, marked(item.example, item.sketch.names)
    found = {(d.first, d.last) for d in item.alone.chosen}
    whole = {(m.first, m.last) for m in gold}
    for m in gold:
        known = share if (m.first, m.last) in found else share * HIDDEN
        yield from ((key, m.label, known) for key in names.written(m.first, m.last))
        for part in contributions.parts(names, m.first, m.last):
            yield from ((key, m.label, GENERAL * careless) for key in names.written(*part))
    possible = item.alone.candidates
    for f, e, y in zip(possible.first.tolist(), possible.last.tolist(), possible.label.tolist(), strict=True):
        if (f, e) not in whole:
            yield from ((key, possible.labels[y], POSSIBLE * careless) for key in names.written(f, e))
    beside = {n for m in gold for n in (m.first - 1, m.last + 1)}
    taken = {n for m in gold for n in range(m.first, m.last + 1)}
    for key, n, _ in names.words():
        if n not in taken:
            label = possible.labels[zlib.crc32(key.encode()) % len(possible.labels)]
            yield key, label, careless * (BESIDE if n in beside else CARELESS)


def _spoilt(cells: Mapping[str, Cell], share: float, rng: np.random.Generator) -> dict[str, Cell]:
    """Of `share` of the cells, entity counts become another key's label or none; none becomes entity."""
    labels = sorted({n for c in cells.values() for n in c.counts if split_field(n)[2] == "entity"})
    out = dict(cells)
    for key in sorted(cells):
        if not labels or rng.random() >= share:
            continue
        counts: dict[str, int] = {}
        for name, count in cells[key].counts.items():
            source, scheme, outcome, _ = split_field(name)
            if outcome == "entity" and rng.random() < 0.5:
                name = field(source, scheme, "none")
            elif outcome in ("entity", "none"):
                other = split_field(labels[int(rng.integers(len(labels)))])
                name = field(source, scheme, "entity", *other[3])
            counts[name] = counts.get(name, 0) + count
        out[key] = replace(cells[key], counts=counts)
    return out


def evidenced(sample: Sample) -> Evidenced:
    """The candidates of a sample that memory says anything of."""
    at = sample.remembered.present
    return Evidenced(
        sample.h[at], sample.remembered.counts[at], trusted(sample.remembered, sample.h)[at],
        sample.candidates.label[at], sample.right[at].astype(np.float64), np.ones(int(at.sum())),
    )


def prolonged(sample: Sample, rng: np.random.Generator) -> Evidenced:
    """Candidates that the stream itself wrote of, as a stream up to MANY times as long would have them.

    In a stationary stream counts grow together; this teaches that their ratio matters, not their size.
    """
    raw = np.expm1(sample.remembered.counts)
    take = np.flatnonzero(raw[:, :, SELF].sum(axis=(1, 2)) >= FEW)
    raw = raw[take]
    raw[:, :, SELF] *= np.exp(rng.uniform(0, np.log(MANY), len(take)))[:, None, None]
    return _evidenced(sample, take, raw, sample.h[take], sample.right[take].astype(np.float64))


def corrected(sample: Sample, share: float, rng: np.random.Generator, *, own: bool = True) -> Evidenced:
    """Candidates with a person's word on this very name, who is right in `TRUSTED` of the cases.

    This is the explicit prior on corrections by name: dev labels alone cannot show it, as a person who corrects a
    stream may follow other rules than the annotators.  Any candidate, known or not, however often (up to MANY times,
    for or against, in training or in reviews), whatever the text says of it (for half of them the text's odds are drawn
    evenly), is called an entity, another one, or nothing, once or twice.  Only who calls an ordinary word a name is
    doubted (DOUBTED).  What whole reviews weigh is left to the streams.
    """
    take = np.flatnonzero(rng.random(len(sample.candidates)) < share)
    n = len(take)
    raw = np.expm1(sample.remembered.counts[take])
    for source in (TRAINING, REVIEWER, SELF) if own else (TRAINING, REVIEWER):
        other = rng.random(n) < 0.4
        raw[other, :, source] = 0.0
        raw[np.flatnonzero(other), 0, source, rng.choice([0, NONE], n)[other]] = np.exp(
            rng.uniform(0, np.log(MANY), n))[other]
    raw *= (rng.random(n) < 0.6)[:, None, None, None]
    raw[:, :, CORRECTION] = 0.0
    h = sample.h[take]
    h = np.where(rng.random(n) < 0.5, rng.uniform(-8.5, 8.5, n), h)
    entity = rng.random(n) < 0.5
    against = rng.choice([NONE, OTHER], n, p=[0.7, 0.3])
    nothing = raw[:, 0, :, NONE].sum(axis=1) - raw[:, 0, :, 0].sum(axis=1)
    raw[np.arange(n), 0, CORRECTION, np.where(entity, 0, against)] = rng.integers(1, 3, n)
    faith = np.where(entity & (nothing > ORDINARY), DOUBTED, TRUSTED)
    y = np.where(rng.random(n) < faith, entity, ~entity).astype(np.float64)
    return _evidenced(sample, take, raw, h, y)


def _evidenced(sample: Sample, take: np.ndarray, raw: np.ndarray, h: np.ndarray, y: np.ndarray) -> Evidenced:
    """Candidates `take` with other counts and odds than they had."""
    old = sample.remembered.reliability[take]
    agreement, shape = old[:, -2:], old[:, RELIABILITY.index("tokens") : RELIABILITY.index("acronym") + 1]
    x = reliability(raw, agreement, shape)
    x[:, ENTROPY] = entropy(h)
    x = np.column_stack([x, trusted(sample.remembered, sample.h)[take, len(RELIABILITY) :]])
    return Evidenced(h, np.log1p(raw), x, sample.candidates.label[take], y, np.ones(len(take)))
