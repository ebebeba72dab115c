"""Strict scores of an extractor on annotated documents: memory off, against a strong dictionary, and memory on.

Spans count where start, end and label agree.  Relations at mention level count where both spans and the label agree;
at document level where a pair of concept ids and the label agree, end to end.  Of events, triggers count by span and
label, arguments by event label, role and span, once an event; attributes (cues of negation, speculation, severity) like
arguments, each apart and all together.  Intervals are percentiles of a bootstrap over
documents, paired between the modes (Berg-Kirkpatrick et al., "An empirical investigation of statistical significance
in NLP", 2012).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kie_ops.dataset import Example
from kie_ops.decisions import Decided, decide
from kie_ops.domain import TRIGGER, EventScheme
from kie_ops.evaluation import dictionary
from kie_ops.evaluation.relation_scores import Control, Controls, f1_of, gold_relations, predicted_relations
from kie_ops.events import frames
from kie_ops.evidence import Knowledge
from kie_ops.extractor import Extractor, Sketch, sketch_of
from kie_ops.memory import Cell, Memory

OFF, DICTIONARY, ON = MODES = ("off", "dictionary", "on")
SPANS, RELATIONS, TRIGGERS, ARGUMENTS, ATTRIBUTES = "spans", "relations", "triggers", "arguments", "attributes"
ATTRIBUTE = "attribute: "
"""Prefix of the task of one attribute."""
Counts = tuple[int, int, int]
"""True positives, predicted, gold."""


@dataclass(frozen=True, slots=True)
class Score:
    """`low`, `high`: 95 % interval of `f1`; `gain` of f1 over memory off, with its own."""

    scheme: str
    task: str
    mode: str
    precision: float
    recall: float
    f1: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    gold: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Report:
    domain: str
    version: str
    documents: Mapping[str, int]
    scores: tuple[Score, ...]
    controls: tuple[Control, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; scores of 0..1 with four digits."""
        scores, controls = (
            [{k: round(v, 4) if isinstance(v, float) else v for k, v in dataclasses.asdict(s).items()} for s in some]
            for some in (self.scores, self.controls)
        )
        return {"domain": self.domain, "version": self.version, "documents": dict(self.documents), "scores": scores,
                "controls": controls}


@dataclass
class _Table:
    """Counts by (task, mode), one row a document."""

    counts: dict[tuple[str, str], list[Counts]] = field(default_factory=dict)

    def add(self, task: str, mode: str, predicted: Iterable[Hashable], gold: Iterable[Hashable]) -> None:
        p, g = Counter(predicted), Counter(gold)
        self.counts.setdefault((task, mode), []).append(((p & g).total(), p.total(), g.total()))


def evaluate(
    extractor: Extractor, examples: Mapping[str, Sequence[Example]], *, memory: Memory | None = None, batch: int = 16,
    samples: int = 1_000, seed: int = 1, progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Scores of each scheme's own head on its own documents.

    `memory` defaults to the extractor's.  Memory is not written to: documents are read apart.  `progress` is called
    with (scheme, documents done, documents).
    """
    scores: list[Score] = []
    rivals: list[Control] = []
    for scheme, documents in examples.items():
        table, controls = _Table(), Controls()
        for at in range(0, len(documents), batch):
            some = documents[at : at + batch]
            readings = extractor.encode([e.document for e in some], [scheme])
            for example, reading in zip(some, readings, strict=True):
                sketch = sketch_of(reading)
                cells = (memory or extractor.memory).recall(sketch.keys).cells
                _document(table, controls, extractor, scheme, example, sketch, cells)
            if progress is not None:
                progress(scheme, at + len(some), len(documents))
        scores += _scores(scheme, table, samples, seed)
        rivals += controls.scores(scheme, samples, seed)
    sizes = {scheme: len(documents) for scheme, documents in examples.items()}
    return Report(extractor.domain, extractor.version, sizes, tuple(scores), tuple(rivals))


def _document(
    table: _Table, controls: Controls, extractor: Extractor, scheme: str, example: Example, sketch: Sketch,
    cells: Mapping[str, Cell],
) -> None:
    domain, gate = extractor.definition, extractor.gate
    off = decide(sketch.names, domain, gate, scheme)
    on = decide(sketch.names, domain, gate, scheme, cells)
    event = domain.output.events.get(scheme)
    if event is None:
        knowledge = Knowledge(cells, scheme)
        joined = dictionary.joined(off, dictionary.matches(sketch.names, knowledge), gate.dictionary.get(scheme, 0.5))
        gold = {(s.start, s.end, s.label) for s in example.spans}
        for mode, spans in (
            (OFF, predicted_spans(sketch, off)), (DICTIONARY, {(*sketch.span(f, e), y) for f, e, y in joined}),
            (ON, predicted_spans(sketch, on)),
        ):
            table.add(SPANS, mode, spans, gold)
    else:
        for mode, decided in ((OFF, off), (ON, on)):
            _events(table, mode, event, example, sketch, decided)
    if scheme in domain.relations:
        rules = domain.relations[scheme]
        for mode, decided in ((OFF, off), (ON, on)):
            if mode == ON or rules.level != "document":  # without memory there are no concept ids
                predicted = predicted_relations(extractor, sketch, scheme, decided)
                table.add(RELATIONS, mode, predicted, gold_relations(example, rules))
        controls.add(extractor, scheme, example, sketch, on)


def predicted_spans(sketch: Sketch, decided: Decided) -> set[tuple[int, int, str]]:
    return {(*sketch.span(d.first, d.last), d.label) for d in decided.chosen}


def _events(
    table: _Table, mode: str, rules: EventScheme, example: Example, sketch: Sketch, decided: Decided
) -> None:
    triggers: list[Hashable] = []
    arguments: list[Hashable] = []
    cues: list[tuple[Any, ...]] = []
    for frame in frames(sketch.sentence_of(), decided.chosen, rules):
        label = frame.trigger.label
        triggers.append((*sketch.span(frame.trigger.first, frame.trigger.last), label))
        arguments += sorted({(label, d.label, *sketch.span(d.first, d.last)) for d in frame.arguments})
        cues += sorted({(label, d.label, *sketch.span(d.first, d.last)) for d in frame.cues})
    gold_triggers: list[Hashable] = []
    gold_arguments: list[Hashable] = []
    gold_cues: list[tuple[Any, ...]] = []
    for event in example.events:
        label = TRIGGER + str(event["label"])
        gold_triggers += [(t["start"], t["end"], label) for t in event.get("triggers") or ()]
        spans = {(label, a["role"], a["start"], a["end"]) for a in event.get("arguments") or ()}
        gold_arguments += sorted(a for a in spans if a[1] in rules.roles)
        gold_cues += sorted(a for a in spans if a[1] in rules.attributes)
    table.add(TRIGGERS, mode, triggers, gold_triggers)
    table.add(ARGUMENTS, mode, arguments, gold_arguments)
    for role, name in rules.attributes.items():
        table.add(f"{ATTRIBUTE}{name}", mode, [c for c in cues if c[1] == role], [c for c in gold_cues if c[1] == role])
    if rules.attributes:
        table.add(ATTRIBUTES, mode, cues, gold_cues)


def _scores(scheme: str, table: _Table, samples: int, seed: int) -> list[Score]:
    rng = np.random.default_rng(seed)
    documents = len(next(iter(table.counts.values()), []))
    draws = rng.multinomial(documents, np.full(documents, 1 / documents), size=samples) if documents else None
    out = []
    for (task, mode), rows in table.counts.items():
        counts = np.array(rows, dtype=np.int64)
        base = np.array(table.counts.get((task, OFF), rows), dtype=np.int64)
        tp, predicted, gold = (int(c) for c in counts.sum(axis=0))
        f1, before = f1_of(counts.sum(axis=0)), f1_of(base.sum(axis=0))
        drawn = f1_of(draws @ counts) if draws is not None else np.zeros(1)
        gains = drawn - (f1_of(draws @ base) if draws is not None else 0.0)
        low, high = np.percentile(drawn, [2.5, 97.5])
        gain_low, gain_high = np.percentile(gains, [2.5, 97.5])
        out.append(Score(
            scheme, task, mode, tp / predicted if predicted else 0.0, tp / gold if gold else 0.0, float(f1), float(low),
            float(high), float(f1 - before), float(gain_low), float(gain_high), gold, predicted,
        ))
    return out
