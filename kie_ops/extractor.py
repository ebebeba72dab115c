"""The extractor: a domain's model, gate and memory behind one call.

>>> Extractor.load("medical").extract("Naproxen caused a rash.")
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from kie_ops import contributions, relations
from kie_ops.candidates import Names
from kie_ops.decisions import Decided, Decision, decide
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.events import events
from kie_ops.evidence import concept_rows, rows
from kie_ops.frozen_memory import FrozenMemory
from kie_ops.gate import Calibration, Gate
from kie_ops.learnt import learnt_key
from kie_ops.linking import concepts
from kie_ops.memory import Cell, Contribution, Memory
from kie_ops.model import TextModel
from kie_ops.pairs import Item
from kie_ops.records import Document, Event, Mention, Reading, Relation, span_id
from kie_ops.relations import Related
from kie_ops.text_reading import TextReading

GATE, MEMORY = "gate.json", "memory.jsonl.zst"


@dataclass(frozen=True, eq=False)
class Sketch(TextReading):
    """A reading that keeps what was worked out from it without memory, so that it is worked out once."""

    @cached_property
    def names(self) -> Names:
        return Names(self)

    @cached_property
    def alone(self) -> dict[str, Decided]:
        """Decisions with memory off, by scheme."""
        return {}

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(self.names.keys())


class Extractor:
    """Reads documents of one domain.  `version` is a fingerprint of model, gate and domain.

    Not safe among threads; one per process.
    """

    def __init__(
        self, model: TextModel, gate: Gate, *, memory: Memory | None = None, token_budget: int = 4_096
    ) -> None:
        self.model, self.gate, self.definition = model, gate, model.domain
        self.domain = model.domain.name
        self.memory: Memory = memory if memory is not None else FrozenMemory({})
        self.token_budget = token_budget

    @property
    def version(self) -> str:
        if "_version" not in self.__dict__:
            output = repr(sorted(self.definition.dump()["output"].items()))
            parts = (self.model.version, repr(self.gate.dump()), output)
            self.__dict__["_version"] = hashlib.blake2b("\n".join(parts).encode(), digest_size=10).hexdigest()
        return str(self.__dict__["_version"])

    def with_scheme(self, name: str, labels: Iterable[str]) -> Extractor:
        """This extractor with labels that its model has no head for, learnt from memory alone (Domain.with_scheme)."""
        out = Extractor(self.model, self.gate, memory=self.memory, token_budget=self.token_budget)
        out.definition = self.definition.with_scheme(name, labels)
        return out

    @classmethod
    def load(
        cls, domain: str | Path | Domain, *, memory: Memory | None = None, threads: int | None = None,
        token_budget: int = 4_096,
    ) -> Extractor:
        """A shipped domain by name, or the folder of a trained one; `memory` defaults to the one it ships.

        Raises ModelError where the domain is unknown (naming those there are), or its files are missing or broken.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        definition = domain if isinstance(domain, Domain) else Domain.load(domain)
        model = TextModel.load(definition)
        folder = Path(definition.folder or ".")
        gate = Gate.load(folder / GATE)
        if memory is None:
            memory = FrozenMemory.load(folder / MEMORY)
        return cls(model, gate, memory=memory, token_budget=token_budget)

    def encode(self, documents: Sequence[Document], schemes: Collection[str] | None = None) -> list[TextReading]:
        """What the text alone says of each document, in `schemes` (default: those emitted); costly, no memory."""
        return [sketch_of(r) for r in self.model.read(documents, self.token_budget, schemes or self._schemes())]

    def keys(self, reading: TextReading) -> frozenset[str]:
        """The keys memory is to be asked for."""
        sketch = sketch_of(reading)
        return sketch.keys | {key for key, _, _ in self._pairs(sketch)} | {learnt_key(s) for s in self._schemes()}

    def contribution(self, reading: TextReading) -> Contribution:
        """What the document adds to memory: of its text and the model alone."""
        sketch = sketch_of(reading)
        document = reading.document
        origin = str(document.place) if document.place is not None else f"doc:{document.doc_id}"
        emitted = self.definition.output.entities
        decided = [d.only(emitted[s].keys()) for s, d in self._alone(sketch).items() if s in emitted]
        return contributions.of_document(origin, sketch.names, decided, self._pairs(sketch))

    def decode(self, reading: TextReading, cells: Mapping[str, Cell]) -> Reading:
        """What was read, with memory; of `cells` only those count that the document itself asks for."""
        sketch = sketch_of(reading)
        wanted = self.keys(sketch)
        known = {key: cells[key] for key in sorted(k for k in cells if k in wanted)}
        decided = {s: decide(sketch.names, self.definition, self.gate, s, known) for s in self._schemes()}
        mentions, index = self._mentions(sketch, decided)
        found = self._relations(sketch, decided, mentions, index, known)
        return Reading(
            reading.document, tuple(mentions), tuple(found), tuple(self._events(sketch, decided, mentions)),
            reading.characters_read, reading.windows,
        )

    def extract(self, text: str, **fields: Any) -> Reading:
        """Reads one text with the extractor's own memory.  `fields` are those of Document.

        Raises InputError where the text is no text, or empty.
        """
        if not isinstance(text, str):
            raise InputError(f"a text is a str, not {type(text).__name__}", next_step="decode bytes first")
        if not text.strip():
            raise InputError("the text is empty", next_step="give a text with at least one word")
        (reading,) = self.encode([Document(text=text, **{"doc_id": "text", **fields})])
        return self.decode(reading, self.memory.recall(self.keys(reading)).cells)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _schemes(self) -> list[str]:
        """Schemes that anything is emitted from."""
        output = self.definition.output
        return [s for s in self.definition.schemes if s in output.entities or s in output.events]

    def _alone(self, sketch: Sketch) -> dict[str, Decided]:
        if not sketch.alone:
            sketch.alone.update({s: decide(sketch.names, self.definition, self.gate, s) for s in self._schemes()})
        return sketch.alone

    def _emitted(self, sketch: Sketch, decided: Mapping[str, Decided]) -> list[Decision]:
        """Chosen spans that become mentions, in order of place, then scheme."""
        output = self.definition.output.entities
        found = [d for s in self._schemes() if s in output for d in decided[s].chosen if d.label in output[s]]
        return sorted(found, key=lambda d: (d.first, d.last))

    def _mentions(
        self, sketch: Sketch, decided: Mapping[str, Decided]
    ) -> tuple[list[Mention], dict[Decision, Mention]]:
        """Mentions in order of place; where two schemes say the same of a span, the likelier one is kept."""
        document = sketch.document
        by_id: dict[str, Mention] = {}
        index: dict[Decision, Mention] = {}
        linked = {d: which for each in decided.values() for d, which in self._linked(sketch, each).items()}
        for d in self._emitted(sketch, decided):
            start, end = sketch.span(d.first, d.last)
            label = self.definition.output.entities[d.scheme][d.label]
            name = span_id(document.place, document.doc_id, "entity", start, end, label)
            if name in by_id and by_id[name].score >= d.score:
                index[d] = by_id[name]
                continue
            knowledge = decided[d.scheme].knowledge
            used = knowledge is not None and d.soft_weight > 0
            known = linked.get(d)
            by_id[name] = index[d] = Mention(
                name, start, end, document.text[start:end], label, d.score, d.text_score, d.soft_weight, known,
                (*rows(sketch.names, d.first, d.last, d.scheme, knowledge),
                 *concept_rows(sketch.names, d.first, d.last, d.label, known, knowledge))
                if knowledge is not None and used else (),
            )
        mentions = sorted(by_id.values(), key=lambda m: (m.start, m.end, m.label))
        return mentions, {d: by_id[m.mention_id] for d, m in index.items()}

    def items(
        self, sketch: Sketch, scheme: str, decided: Decided, *, recalled: bool
    ) -> tuple[list[Decision], list[Item]]:
        """The chosen spans of one scheme that its relations allow as ends, also as items.

        `recalled`: whether concepts are taken from memory; else surfaces stand for them.
        """
        ends = {label for pair in self.definition.relations[scheme].pairs for label in pair}
        chosen = [d for d in decided.chosen if not ends or d.label in ends]
        linked = self._linked(sketch, decided) if recalled else {}
        return chosen, [
            Item(d.label, d.first, d.last, linked.get(d), sketch.names.key(d.first, d.last)) for d in chosen
        ]

    def _linked(self, sketch: Sketch, decided: Decided) -> dict[Decision, str | None]:
        """The concepts of the chosen spans of one scheme."""
        spans = [(d.first, d.last, d.label) for d in decided.chosen]
        return dict(zip(decided.chosen, concepts(sketch.names, spans, decided.knowledge), strict=True))

    def _related(
        self, sketch: Sketch, scheme: str, decided: Decided, *, recalled: bool
    ) -> tuple[list[Decision], list[Item], list[Related]]:
        """Relations of one scheme between its own chosen spans: (spans, the same as items, pairs of their numbers)."""
        rules = self.definition.relations[scheme]
        chosen, items = self.items(sketch, scheme, decided, recalled=recalled)
        cut = self.gate.relations.get(scheme, Calibration())
        return chosen, items, relations.relate(
            self.model.relate, sketch, scheme, rules, items, cut, decided.cells if recalled else None)

    def _pairs(self, sketch: Sketch) -> list[tuple[str, str, str]]:
        """(key, scheme, label) of the related pairs that the text alone shows."""
        if "pairs" not in sketch.__dict__:
            found = []
            for scheme, decided in self._alone(sketch).items():
                if scheme in self.definition.output.relations:
                    _, items, related = self._related(sketch, scheme, decided, recalled=False)
                    found += [(key, scheme, r.label) for r in related
                              for key in relations.pair_keys(items[r.head], items[r.tail])]
            sketch.__dict__["pairs"] = list(dict.fromkeys(found))
        return list(sketch.__dict__["pairs"])

    def _relations(
        self, sketch: Sketch, decided: Mapping[str, Decided], mentions: Sequence[Mention],
        index: Mapping[Decision, Mention], cells: Mapping[str, Cell],
    ) -> list[Relation]:
        document = sketch.document
        out: dict[str, Relation] = {}
        at = {m.mention_id: m for m in mentions}
        for scheme, names in self.definition.output.relations.items():
            if scheme not in decided:
                continue
            chosen, items, related = self._related(sketch, scheme, decided[scheme], recalled=True)
            for r in related:
                head, tail = index.get(chosen[r.head]), index.get(chosen[r.tail])
                if r.label not in names or head is None or tail is None:
                    continue
                label = names[r.label]
                ends = f"{head.mention_id}|{tail.mention_id}|{label}"
                name = span_id(document.place, document.doc_id, "relation", head.start, tail.start, ends)
                seen = relations.evidence(items[r.head], items[r.tail], scheme, cells)
                out[name] = Relation(name, head.mention_id, tail.mention_id, label, r.score, seen)
        return sorted(out.values(), key=lambda r: (at[r.head].start, at[r.tail].start, r.label, r.relation_id))

    def _events(self, sketch: Sketch, decided: Mapping[str, Decided], mentions: Sequence[Mention]) -> list[Event]:
        found: list[Event] = []
        for scheme, rules in self.definition.output.events.items():
            found += events(sketch, decided[scheme].chosen, rules, mentions)
        return sorted(found, key=lambda e: (e.start, e.end, e.label))


def sketch_of(reading: TextReading) -> Sketch:
    """The reading itself where it is one already."""
    if isinstance(reading, Sketch):
        return reading
    return Sketch(**{name: getattr(reading, name) for name in TextReading.__dataclass_fields__})
