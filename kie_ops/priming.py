"""Training data and vocabulary files as contributions, and the memory a domain ships."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kie_ops import pair_history
from kie_ops.candidates import Names
from kie_ops.contributions import Marked, apart, parts
from kie_ops.dataset import Example, Gold
from kie_ops.domain import Domain
from kie_ops.memory import Cell, Contribution, Increment, field, pair_key, total
from kie_ops.overlay import Overlay
from kie_ops.records import Document
from kie_ops.stems import concept_keys
from kie_ops.text_reading import TextReading
from kie_ops.vocabularies import csv_file
from kie_ops.vocabularies.increments import of_terms
from kie_ops.words import split

_MESH = re.compile(r"[CD]\d{6,9}")
COMMON = {1: 2, 2: 3}
"""By number of words: in how many documents a phrase stands that is never a mention, before it is counted as none.
That ordinary words are usually nothing is what a wrong label, or a vocabulary's careless term, is weighed against."""


def training(examples: Sequence[Example]) -> Iterator[Contribution]:
    """One contribution for each annotated document of one scheme (source training, exhaustive).

    First mentions, their parts, concepts and related pairs are counted; then, of surfaces that are a mention anywhere
    and of ordinary words (COMMON), the documents in which they are part of a longer one, cross a border or are none.
    """
    known: set[str] = set()
    seen: dict[int, Counter[str]] = {width: Counter() for width in COMMON}
    for example in examples:
        names = names_of(example.document)
        for width in COMMON:
            seen[width].update({key for key, _, _ in names.words(width)})
        for first, last, _, _ in marks(example, names):
            known.update(names.written(first, last))
    common = {key for width, least in COMMON.items() for key, n in seen[width].items() if n >= least} - known
    shown: set[str] = set()
    kinds = pair_history.kinds(examples)
    for example in examples:
        yield _document(example, names_of(example.document), known, common, shown, kinds)


def _document(
    example: Example, names: Names, known: set[str], common: set[str], shown: set[str],
    kinds: Collection[pair_history.Kind],
) -> Contribution:
    scheme, doc_id = example.scheme, example.document.doc_id
    fields: set[tuple[str, str]] = set()
    marked = marks(example, names)
    for first, last, gold, label in marked:
        keys = names.written(first, last)
        fields.update((key, field("training", scheme, "entity", label)) for key in keys)
        if gold.concept:
            which = coded(gold.concept)
            fields.update((key, field("training", scheme, "concept", label, which)) for key in concept_keys(keys))
        for key in keys[:1]:
            if key not in shown:
                shown.add(key)
                fields.add((key, field("training", scheme, "example", doc_id)))
        for a, b in parts(names, first, last):
            part = names.key(a, b)
            if part is not None:
                fields.add((part, field("training", scheme, "part", label)))
    fields.update(_others(names, scheme, marked, known))
    whole = [(first, last) for first, last, _, _ in marked]
    fields.update(
        (key, field("training", scheme, "none"))
        for width in COMMON for key in apart(names, whole, width) if key in common
    )
    fields.update(_pairs(example, names, marked))
    named = [(label, coded(gold.concept), name) for first, last, gold, label in marked
             if gold.concept and (name := names.key(first, last)) is not None]
    related = {(coded(r.head), coded(r.tail), r.label) for r in example.relations if r.level == "concept"}
    fields.update(pair_history.fields("training", scheme, kinds, named, related))
    return Contribution(f"training:{scheme}:{doc_id}", tuple(Increment(k, f, 1) for k, f in sorted(fields)))


def _others(
    names: Names, scheme: str, marked: Sequence[tuple[int, int, Gold, str]], known: set[str]
) -> Iterator[tuple[str, str]]:
    """Known surfaces that this document does not mark."""
    whole = {(first, last) for first, last, _, _ in marked}
    for key, first, last in names.spans(known):
        if (first, last) in whole or key not in known:
            continue
        touched = [(a, b, label) for a, b, _, label in marked if a <= last and first <= b]
        around = [label for a, b, label in touched if a <= first and last <= b]
        if around:
            outcome = field("training", scheme, "part", around[0])
        elif any(a < first or last < b for a, b, _ in touched):
            outcome = field("training", scheme, "crossing")
        else:
            outcome = field("training", scheme, "none")
        for each in names.written(first, last):
            yield each, outcome


def _pairs(
    example: Example, names: Names, marked: Sequence[tuple[int, int, Gold, str]]
) -> Iterator[tuple[str, str]]:
    ends: dict[str, str] = {}
    for first, last, gold, _ in marked:
        key = names.key(first, last)
        for name in (gold.span_id, *(gold.concept or "").split("|")):
            if name and key is not None:
                ends.setdefault(name, key)
    for r in example.relations:
        if r.head in ends and r.tail in ends:
            yield pair_key(ends[r.head], ends[r.tail]), field("training", example.scheme, "related", r.label)


def vocabulary(path: str | Path, domain: Domain, *, label: str | None = None) -> Iterator[Contribution]:
    """The terms of a vocabulary file, CSV or a term a line (kie_ops.vocabularies.csv_file), as contributions.

    Raises InputError with file, line and what is wrong.
    """
    path = Path(path)
    yield from of_terms(csv_file.load(path, label=label), domain, path.name).contributions


def cells_of(contributions: Iterable[Contribution]) -> dict[str, Cell]:
    """The memory that these contributions make out of nothing."""
    overlay = Overlay({})
    overlay.add(Contribution("", total(contributions)))
    return dict(overlay.items())


def names_of(document: Document) -> Names:
    """A document's names without any model."""
    words = split(document.text)
    empty = np.zeros((len(words), 0), dtype=np.float32)
    return Names(TextReading(document, words.offsets, words.sentences, {}, empty, 0, 0))


def marks(example: Example, names: Names) -> list[tuple[int, int, Gold, str]]:
    """Gold spans as (first word, last word inclusive, span, label), in order."""
    words = names.reading.words
    out = []
    for gold in example.spans:
        first = int(np.searchsorted(words[:, 1], gold.start, side="right"))
        last = int(np.searchsorted(words[:, 0], gold.end, side="left")) - 1
        if first <= last:
            out.append((first, last, gold, gold.label))
    return sorted(out, key=lambda m: (m[0], m[1], m[3]))


def marked(example: Example, names: Names) -> list[Marked]:
    """Gold spans as a reviewer would mark them."""
    return [Marked(example.scheme, label, first, last, coded(gold.concept) if gold.concept else None)
            for first, last, gold, label in marks(example, names)]


def coded(concept: str) -> str:
    """A concept with its code system: MeSH where it has the form of its ids, else as it stands."""
    return "|".join(f"MESH:{part}" if _MESH.fullmatch(part) else part for part in concept.split("|"))
