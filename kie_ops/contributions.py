"""What a document, a review or a correction adds to memory.

A document's own contribution depends on its text and the model alone (decoded with memory off): memory records what
texts said, not its own echo, so any document can be taken out exactly.  Each document counts once per key and outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from kie_ops.candidates import LOW, Names
from kie_ops.decisions import Decided
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.learnt import Tally, increments, tally
from kie_ops.memory import Contribution, Increment, field
from kie_ops.stems import concept_keys
from kie_ops.surface import DROPPED, edge_word, key_of_text, written

MAX_INCREMENTS = 5_000
"""Increments of one document; what stands later in a longer one is left out."""
UNSURE = 0.05
"""Probability by the text from which a span that was not chosen counts as seen and none."""
MAX_WORDS = 400
"""Words that are no mention which one review counts, in order of place."""
MAX_PARTS = 3
"""Parts of a mention that are counted: its last word, all but its first, all but its last."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A mention to be remembered: words first..last (inclusive)."""

    scheme: str
    label: str
    first: int
    last: int
    concept: str | None = None


class _Increments:
    """Increments of one contribution: each (key, field) once, in order of addition, at most MAX_INCREMENTS."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Increment] = {}

    def add(self, key: str, name: str, vector: tuple[int, ...] | None = None) -> None:
        if len(self._made) < MAX_INCREMENTS:
            self._made.setdefault((key, name), Increment(key, name, 1, vector))

    def extend(self, more: Iterable[Increment]) -> None:
        """Sums of a learnt head: first come, so that a long document does not lose part of them."""
        self._made.update({(i.key, i.field): i for i in more})

    def contribution(self, origin: str) -> Contribution:
        return Contribution(origin, tuple(sorted(self._made.values(), key=lambda i: (i.key, i.field))))


def of_document(
    origin: str, names: Names, decided: Iterable[Decided], pairs: Iterable[tuple[str, str, str]] = ()
) -> Contribution:
    """A document's own contribution (source self), of decisions with memory off.

    Mentions, parts of them, prototypes, related pairs (key of the relation cell, scheme, label), and as none what was
    possible (UNSURE) and not chosen.  Without these, a name misread once in a thousand documents would in a long stream
    look like one that was never read otherwise.
    """
    out = _Increments()
    for each in decided:
        marked = [Marked(d.scheme, d.label, d.first, d.last) for d in each.chosen]
        for m in marked:
            _entity(out, "self", names, m, prototype=True)
        _parts(out, "self", names, marked)
        whole = {key for m in marked for key in names.written(m.first, m.last)}
        for first, last in _unsure(each):
            key = names.key(first, last)
            if key is not None and key not in whole:
                out.add(key, field("self", each.candidates.scheme, "none"))
    for key, scheme, label in pairs:
        out.add(key, field("self", scheme, "related", label))
    return out.contribution(origin)


def of_review(
    origin: str, names: Names, gold: Sequence[Marked], decided: Decided, doc_id: str, source: str = "reviewer"
) -> Contribution:
    """A whole document reviewed in one scheme (exhaustive): all that `gold` does not mark is no mention.

    Of what the tagger found possible and the reviewer did not mark, spans across a border count as crossing, spans
    within a mention as its parts, and the others as none.  So are single words apart from all mentions, whatever the
    tagger says: one day another review, or a vocabulary, may call them a name by mistake.

    Of labels without a head nothing tells what was possible: their names of one or two words count as none.  The
    scheme's learnt cell gets the sums of the words (see learnt), and how often the trained head was right; for that,
    `decided` is to be decided with memory off.
    """
    out = _Increments()
    scheme = decided.candidates.scheme
    spans = [(m.first, m.last, m.label) for m in gold]
    out.extend(increments(scheme, names.reading.traits, spans, doc_id))
    out.extend(_tallies(decided, names, {*spans}))
    example = field(source, scheme, "example", doc_id)
    for m in gold:
        _entity(out, source, names, m, prototype=True)
        for key in names.written(m.first, m.last)[:1]:
            out.add(key, example)
    _parts(out, source, names, gold)
    marked = {(m.first, m.last) for m in gold}
    borders = _Borders(gold, len(names.surfaces.tokens))
    found = decided.candidates
    headed = _headed(decided, names)
    possible = headed & ~found.remembered & (found.features[:, 0] > LOW)
    some = {(int(a), int(b)) for a, b in zip(found.first[possible], found.last[possible], strict=True)}
    scores = names.reading.spans.get(scheme)
    if scores is None or not {*found.labels, *(m.label for m in gold)} <= {*scores.labels}:
        some.update(_short_names(names))
    for f, e in sorted(some):
        if (f, e) not in marked:
            outcome, label = borders.outcome(f, e)
            for key in names.written(f, e):
                out.add(key, field(source, scheme, outcome, *label))
    for key in islice(apart(names, [(m.first, m.last) for m in gold]), MAX_WORDS):
        out.add(key, field(source, scheme, "none"))
    return out.contribution(origin)


def of_correction(
    domain: Domain, origin: str, text: str, *, label: str | None = None, reject: bool = False,
    concept: str | None = None, scheme: str | None = None, doc_id: str | None = None,
) -> Contribution:
    """One word on a name (source correction): `text` is a `label` (and stands for `concept`); `reject`: it is nothing.

    `label` is an emitted name or a scheme's own.  A rejection without label or scheme counts for all that is emitted.
    Raises InputError where the label is unknown or the text has no key (amounts and dates are never remembered).
    """
    key = key_of_text(text)
    if key is None:
        raise InputError("this text cannot be remembered: amounts, dates and bare signs, or more than 12 words",
                         next_step="correct a name or a phrase")
    edge = edge_word(text)
    if edge is not None:
        raise InputError(f"a name that begins or ends with {edge!r} is never looked for",
                         next_step="leave that word out")
    if label is None and not reject:
        raise InputError("a correction has neither a label nor reject", next_step="give one of the two")
    places = resolve(domain, label, scheme)
    out = _Increments()
    for name, its_label in places if reject else places[:1]:
        for k in written(key):
            if reject:
                out.add(k, field("correction", name, "none"))
                continue
            out.add(k, field("correction", name, "entity", its_label))
        for k in concept_keys(written(key)) if concept is not None and not reject else ():
            out.add(k, field("correction", name, "concept", its_label, str(concept)))
        if doc_id is not None:
            out.add(key, field("correction", name, "example", doc_id))
    return out.contribution(origin)


def resolve(domain: Domain, label: str | None, scheme: str | None = None) -> list[tuple[str, str]]:
    """(scheme, its label) pairs that `label`, an emitted name or a scheme's own, stands for; all emitted where None.

    Raises InputError naming the labels there are.
    """
    emitted = [(s, own, name) for s, names in domain.output.entities.items() for own, name in names.items()]
    others = [(s, own, own) for s, rules in domain.schemes.items() for own in rules.labels]
    if scheme is not None and scheme not in domain.schemes:
        raise InputError(f"{domain.name} has no scheme {scheme}", next_step=f"known: {', '.join(domain.schemes)}")
    pool = [e for e in (emitted if scheme is None else emitted + others) if scheme is None or e[0] == scheme]
    if label is None:
        return list({s: (s, own) for s, own, _ in pool}.values())
    for same in (str.__eq__, lambda a, b: a.casefold() == b.casefold()):
        for these in (pool, [o for o in others if scheme is None or o[0] == scheme]):
            found = [(s, own) for s, own, name in these if same(name, label) or same(own, label)]
            if found:
                return list(dict.fromkeys(found))
    known = sorted({name for _, _, name in pool})
    raise InputError(f"{domain.name} has no label {label}", next_step=f"known: {', '.join(known)}")


def _entity(out: _Increments, source: str, names: Names, m: Marked, *, prototype: bool) -> None:
    for n, key in enumerate(names.written(m.first, m.last)):
        out.add(key, field(source, m.scheme, "entity", m.label))
        if prototype and n == 0:
            out.add(key, field(source, m.scheme, "prototype", m.label), names.reading.prototype(m.first, m.last))
    if m.concept is not None:
        for key in concept_keys(names.written(m.first, m.last)):
            out.add(key, field(source, m.scheme, "concept", m.label, m.concept))


def _headed(decided: Decided, names: Names) -> np.ndarray:
    """bool [candidates]: whether a trained head scored them; what memory taught plays no part in contributions."""
    scheme = decided.candidates.scheme
    trained = names.reading.spans[scheme].labels if scheme in names.reading.spans else ()
    return np.array([y in trained for y in decided.candidates.labels], dtype=bool)[decided.candidates.label]


def _tallies(decided: Decided, names: Names, gold: set[tuple[int, int, str]]) -> Iterator[Increment]:
    """How often the trained head's finds, by the text alone, were right."""
    if decided.knowledge is not None:  # decided with memory: no measure of the text alone
        return
    scheme = decided.candidates.scheme
    for label in sorted({d.label for d in decided.chosen}):
        mine = [d for d in decided.chosen if d.label == label]
        right = sum((d.first, d.last, label) in gold for d in mine)
        yield from tally(scheme, label, Tally(len(mine), right, sum(d.text_score for d in mine)))


def _short_names(names: Names) -> Iterator[tuple[int, int]]:
    """Spans of one or two words that may be a name."""
    tokens = names.surfaces.tokens
    for begin, end in names.reading.sentences.tolist():
        words = [i for i in range(begin, end) if tokens[i].kind != DROPPED]
        for first, last in (*zip(words, words, strict=True), *pairwise(words)):
            if tokens[first].edge and tokens[last].edge and names.key(first, last) is not None:
                yield first, last


def _unsure(decided: Decided) -> list[tuple[int, int]]:
    """Spans that were possible by the text and share no word with a chosen one."""
    found = decided.candidates
    taken = {word for d in decided.chosen for word in range(d.first, d.last + 1)}
    spans = zip(found.first.tolist(), found.last.tolist(), decided.text_score.tolist(), strict=True)
    return sorted({(f, e) for f, e, p in spans if p >= UNSURE and taken.isdisjoint(range(f, e + 1))})


def _parts(out: _Increments, source: str, names: Names, marked: Sequence[Marked]) -> None:
    whole = {(m.scheme, key) for m in marked for key in names.written(m.first, m.last)}
    for m in marked:
        for first, last in parts(names, m.first, m.last):
            key = names.key(first, last)
            if key is not None and (m.scheme, key) not in whole:
                out.add(key, field(source, m.scheme, "part", m.label))


def parts(names: Names, first: int, last: int) -> list[tuple[int, int]]:
    """At most MAX_PARTS shorter spans of a mention, in words that count for keys."""
    words = [i for i in range(first, last + 1) if names.surfaces.tokens[i].kind != DROPPED]
    if len(words) < 2:
        return []
    spans = [(words[-1], last), (words[1], last), (first, words[-2])]
    return list(dict.fromkeys(spans))[:MAX_PARTS]


def apart(names: Names, whole: Sequence[tuple[int, int]], width: int = 1) -> Iterator[str]:
    """Keys of the document's phrases of `width` words that share none with the spans `whole`, each once, in order."""
    taken = {word for first, last in whole for word in range(first, last + 1)}
    inside = {names.raw_key(first, last) for first, last in whole}
    yield from dict.fromkeys(
        key for key, first, last in names.words(width)
        if key not in inside and taken.isdisjoint(range(first, last + 1))
    )


class _Borders:
    """Which spans cross, lie within, or are apart from the marked ones."""

    def __init__(self, marked: Sequence[Marked], words: int) -> None:
        self._over: list[list[Marked]] = [[] for _ in range(words)]
        for m in marked:
            for word in range(m.first, m.last + 1):
                self._over[word].append(m)

    def outcome(self, first: int, last: int) -> tuple[str, tuple[str, ...]]:
        """(outcome, its label as further parts of the field)."""
        touched = list(_unique(m for word in range(first, last + 1) for m in self._over[word]))
        around = [m for m in touched if m.first <= first and last <= m.last]
        if around:
            return "part", (around[0].label,)
        return ("crossing", ()) if any(m.first < first or last < m.last for m in touched) else ("none", ())


def _unique(marked: Iterable[Marked]) -> Iterator[Marked]:
    return iter(dict.fromkeys(marked))
