"""A stream of annotated documents, read one after another with what those before it left in memory.

Labels enter memory by one way only: a document that the plan says is reviewed is reviewed whole *after* it was
predicted, and that review is in force `delay` documents later.  Documents are encoded once; each order, plan and
memory decodes them anew.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kie_ops import contributions
from kie_ops.contributions import Marked
from kie_ops.dataset import Example
from kie_ops.decisions import Decided, Decision, decide
from kie_ops.domain import Domain, Output
from kie_ops.errors import InputError
from kie_ops.evaluation import attacks, dictionary, readings
from kie_ops.evaluation.attacks import Attack
from kie_ops.evaluation.indexed import indexed
from kie_ops.evidence import Knowledge
from kie_ops.extractor import Extractor, Sketch, sketch_of
from kie_ops.gate import Gate
from kie_ops.learnt import learnt_key
from kie_ops.memory import Cell, Contribution, split_field
from kie_ops.overlay import Overlay
from kie_ops.priming import marked

MEMORISED, SYNONYM, NEW = KINDS = ("memorised", "synonym", "new")
"""Of a gold mention when its document arrives: its exact key is an entity in memory; only its concept is; neither is.
What the stream wrote itself does not count as known."""


Match = tuple[int, int, str, float]
"""(first, last, label, share of positive counts) of a match of the dictionary."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`reviewed`: share of past documents reviewed whole; `delay`: documents until a review is in force (0: the next
    has it); `own`: whether documents write themselves; `attack`: how reviewers are wrong.
    """

    reviewed: float = 0.0
    delay: int = 0
    own: bool = True
    attack: Attack | None = None


@dataclass(frozen=True)
class Read:
    """One document, encoded and decided with memory off.  `own`: what it writes itself."""

    example: Example
    sketch: Sketch
    keys: frozenset[str]
    alone: Decided
    own: Contribution
    gold: tuple[Marked, ...]


@dataclass(frozen=True)
class Stream:
    """The documents of one scheme.  `labels`: those the data have; others of the scheme cannot be judged here."""

    domain: Domain
    gate: Gate
    scheme: str
    labels: tuple[str, ...]
    reads: tuple[Read, ...]

    def part(self, numbers: Sequence[int]) -> Stream:
        """The same with some of the documents."""
        return replace(self, reads=tuple(self.reads[n] for n in numbers))

    def among(self, memories: Iterable[Mapping[str, Cell]]) -> Stream:
        """The same, asking only for keys that can be there: in one of `memories`, or in two of the documents."""
        seen = Counter(key for read in self.reads for key in read.keys | _writes(read))
        can = {key for key, many in seen.items() if many > 1}.union(*(seen.keys() & m.keys() for m in memories))
        can.add(learnt_key(self.scheme))
        return replace(self, reads=tuple(replace(read, keys=read.keys & can) for read in self.reads))


@dataclass(frozen=True)
class Seen:
    """A document as memory read it.  `number` in the stream's reads; `kinds` of its gold marks, in order.

    `matches`: of the dictionary, with all facts that memory on has; `others`: without what the stream wrote itself.
    """

    number: int
    chosen: tuple[Decision, ...]
    matches: tuple[Match, ...]
    others: tuple[Match, ...]
    kinds: tuple[str, ...]


def open_stream(
    extractor: Extractor, examples: Sequence[Example], *, folder: Path | None = None, batch: int = 16,
    labels: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None,
) -> Stream:
    """Encodes the examples, all of one scheme, trained or not.  `folder`: where readings are kept (see readings).

    `labels`: default those the examples have.  Raises InputError where the scheme is the domain's and lacks a label.
    """
    scheme = examples[0].scheme if examples else ""
    own = tuple(labels) if labels is not None else tuple(sorted({s.label for e in examples for s in e.spans}))
    output = extractor.definition.output
    trained = {*output.entities, *output.events, scheme} & extractor.definition.schemes.keys()
    domain = admitted(extractor.definition, scheme, own)
    reads: list[Read] = []
    for at in range(0, len(examples), batch):
        some = examples[at : at + batch]
        found = readings.encode(extractor, [e.document for e in some], trained, folder, batch=batch)
        reads += [_read(extractor, domain, e, sketch_of(r)) for e, r in zip(some, found, strict=True)]
        if progress is not None:
            progress(len(reads), len(examples))
    return Stream(domain, extractor.gate, scheme, own, tuple(reads))


def admitted(domain: Domain, scheme: str, labels: Sequence[str]) -> Domain:
    """The domain with `scheme` in it, whether a head was trained for it or not, and nothing else emitted.

    Raises InputError where the scheme is there but lacks one of `labels`.
    """
    if scheme in domain.schemes:
        unknown = sorted(set(labels) - set(domain.schemes[scheme].labels))
        if unknown:
            raise InputError(
                f"{scheme} of {domain.name} has no label {unknown[0]}",
                next_step=f"map it to one of {', '.join(domain.schemes[scheme].labels)}, or give the data a name that "
                "is no scheme of the domain: its labels are then learnt from memory and reviews")
    else:
        domain = domain.with_scheme(scheme, labels)
    names = domain.output.entities.get(scheme) or {label: label for label in labels}
    return replace(domain, output=Output({scheme: names}))


def _read(extractor: Extractor, domain: Domain, example: Example, whole: Sketch) -> Read:
    scheme = example.scheme
    emitted = scheme in extractor.definition.output.entities
    keys = extractor.keys(whole) | {learnt_key(scheme)}
    own = extractor.contribution(whole) if emitted else None
    sketch = sketch_of(replace(whole, spans={n: s for n, s in whole.spans.items() if n == scheme}))
    indexed(sketch.names)
    alone = decide(sketch.names, domain, extractor.gate, scheme)
    if own is None:
        own = contributions.of_document(f"doc:{example.document.doc_id}", sketch.names, [alone])
    return Read(example, sketch, keys, alone, own, tuple(marked(example, sketch.names)))


def run(stream: Stream, base: Mapping[str, Cell], plan: Plan, seed: int) -> Iterator[Seen]:
    """The documents in the order of `seed` (0: as they come), each read with `base` and what those before it left.

    The seed also says which documents are reviewed; the same seed reviews the same documents in every arm.
    """
    memory = Overlay(base)
    known = _concepts(base, stream.scheme)
    waiting: deque[tuple[int, Contribution]] = deque()
    attack = with_common_words(plan.attack, stream)
    turns = order(len(stream.reads), seed)
    asked = np.random.default_rng([seed, 7]).random(len(turns))
    for turn, number in enumerate(turns):
        while waiting and waiting[0][0] <= turn:
            review = waiting.popleft()[1]
            memory.add(review)
            known.update(_concepts_of(review, stream.scheme))
        read = stream.reads[number]
        yield look(stream, read, number, memory.only(read.keys), known)
        if plan.own:
            memory.add(read.own)
        if asked[turn] < plan.reviewed:
            waiting.append((turn + 1 + plan.delay, reviewed(stream, read, attack)))


def look(stream: Stream, read: Read, number: int, cells: Mapping[str, Cell], known: set[str] | None = None) -> Seen:
    """One document read with these cells: what the gate chooses, what the dictionary matches."""
    names, scheme = read.sketch.names, stream.scheme
    decided = decide(names, stream.domain, stream.gate, scheme, cells).only(stream.labels)
    knowledge = Knowledge(cells, scheme)
    strangers = {key: _without_own(cell) for key, cell in cells.items()}
    matches, others = (
        tuple(m for m in dictionary.matches(names, some) if m[2] in stream.labels)
        for some in (knowledge, Knowledge(strangers, scheme))
    )
    entities = knowledge.labels()
    kinds = []
    for m in read.gold:
        concepts = set((m.concept or "").split("|")) - {""}
        synonym = known is not None and bool(concepts & known)
        kinds.append(MEMORISED if names.key(m.first, m.last) in entities else SYNONYM if synonym else NEW)
    return Seen(number, decided.chosen, matches, others, tuple(kinds))


def reviewed(stream: Stream, read: Read, attack: Attack | None = None) -> Contribution:
    """What a reviewer of the whole document says, who is wrong as `attack` has it."""
    gold: Sequence[Marked] = read.gold
    if attack is not None:
        gold = attacks.wrong(gold, read.sketch.names, attack, stream.labels)
    doc_id = read.example.document.doc_id
    return contributions.of_review(f"review:{doc_id}", read.sketch.names, gold, _judged(read.alone, stream.labels),
                                   doc_id)


def order(count: int, seed: int) -> list[int]:
    """Numbers of documents in order of arrival; seed 0 is the order in which they come."""
    return np.random.default_rng([seed, 3]).permutation(count).tolist() if seed else list(range(count))


def with_common_words(attack: Attack | None, stream: Stream) -> Attack | None:
    """The attack with the stream's own frequent words where it needs some."""
    if attack is None or attack.kind != attacks.COMMON_WORDS or attack.common:
        return attack
    return replace(attack, common=attacks.common_words((r.sketch.names, r.gold) for r in stream.reads))


def _without_own(cell: Cell) -> Cell:
    return Cell(cell.key, {name: n for name, n in cell.counts.items() if not name.startswith("self|")})


def _writes(read: Read) -> set[str]:
    """Keys that the document may write to, besides those it asks for."""
    names = read.sketch.names
    return {i.key for i in read.own.increments} | {key for m in read.gold for key in names.written(m.first, m.last)}


def _judged(decided: Decided, labels: Sequence[str]) -> Decided:
    """Without candidates of labels that the data do not annotate: of those a review says nothing."""
    found = decided.candidates
    keep = np.array([found.labels[y] in labels for y in found.label.tolist()], dtype=bool)
    if keep.all():
        return decided
    return replace(decided.only(labels), candidates=found.only(keep), score=decided.score[keep],
                   text_score=decided.text_score[keep], soft_weight=decided.soft_weight[keep])


def _concepts(cells: Mapping[str, Cell], scheme: str) -> set[str]:
    return {c for cell in cells.values() for name in cell.counts if "|concept|" in name for c in _of(name, scheme)}


def _concepts_of(contribution: Contribution, scheme: str) -> set[str]:
    return {c for i in contribution.increments if "|concept|" in i.field for c in _of(i.field, scheme)}


def _of(name: str, scheme: str) -> list[str]:
    _, whose, outcome, rest = split_field(name)
    return rest[1].split("¦") if whose == scheme and outcome == "concept" and len(rest) > 1 else []
