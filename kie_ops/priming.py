"""Training data and vocabulary files as contributions, and the memory a domain ships."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kie_ops.candidates import Names
from kie_ops.contributions import MAX_INCREMENTS, Marked, apart, parts, resolve
from kie_ops.dataset import Example, Gold
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.memory import Cell, Contribution, Increment, field, pair_key, total
from kie_ops.overlay import Overlay
from kie_ops.records import Document
from kie_ops.surface import key_of_text, written
from kie_ops.text_reading import TextReading
from kie_ops.words import split

_MESH = re.compile(r"[CD]\d{6,9}")
COLUMNS = ("term", "id", "label")
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
    for example in examples:
        yield _document(example, names_of(example.document), known, common, shown)


def _document(
    example: Example, names: Names, known: set[str], common: set[str], shown: set[str]
) -> Contribution:
    scheme, doc_id = example.scheme, example.document.doc_id
    fields: set[tuple[str, str]] = set()
    marked = marks(example, names)
    for first, last, gold, label in marked:
        keys = names.written(first, last)
        fields.update((key, field("training", scheme, "entity", label)) for key in keys)
        if gold.concept:
            which = coded(gold.concept)
            fields.update((key, field("training", scheme, "concept", label, which)) for key in keys)
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
    """The terms of a vocabulary file (source vocabulary), MAX_INCREMENTS a contribution.

    CSV with a header that names `term`, and optionally `id` (a concept, SYSTEM:ID) and `label`; or one term a line,
    `label` then being given.  Terms without a key (amounts, dates, over 12 words) are left out.
    Raises InputError with file, line and what is wrong.
    """
    path = Path(path)
    made: dict[tuple[str, str], Increment] = {}
    number = 0
    for term, concept, scheme, own in _terms(path, domain, label):
        key = key_of_text(term)
        for each in written(key) if key is not None else ():
            names = [field("vocabulary", scheme, "entity", own)]
            if concept:
                names.append(field("vocabulary", scheme, "concept", own, concept))
            made.update({(each, name): Increment(each, name, 1) for name in names})
        if len(made) >= MAX_INCREMENTS:
            yield Contribution(f"vocabulary:{path.name}:{number}", tuple(sorted(made.values(), key=_order)))
            made, number = {}, number + 1
    if made:
        yield Contribution(f"vocabulary:{path.name}:{number}", tuple(sorted(made.values(), key=_order)))


def _order(i: Increment) -> tuple[str, str]:
    return i.key, i.field


def _terms(path: Path, domain: Domain, label: str | None) -> Iterator[tuple[str, str, str, str]]:
    """(term, concept, scheme, the scheme's label) of each line."""
    places: dict[str | None, tuple[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            header = [name.strip().lower() for name in next(csv.reader([first]), [])]
            table = "term" in header
            rows: Iterable[dict[str, str]] = (
                csv.DictReader(file, fieldnames=header) if table else ({"term": line.strip()} for line in file)
            )
            for number, row in enumerate(rows, 1):
                if (table and number == 1) or not (row.get("term") or "").strip():
                    continue
                name = (row.get("label") or "").strip() or label
                if name is None:
                    raise InputError("a term has no label", where=f"{path}, line {number}",
                                     next_step="add a column `label`, or give one label for the whole file")
                if name not in places:
                    places[name] = resolve(domain, name)[0]
                yield row["term"].strip(), (row.get("id") or "").strip(), *places[name]
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8: {e.reason}", where=str(path), next_step="save the file as UTF-8") from None
    except csv.Error as e:
        raise InputError(f"not CSV: {e}", where=str(path), next_step="see docs/operations.md for the form") from None
    except OSError as e:
        raise InputError(f"cannot read: {e.strerror or e}", where=str(path), next_step="check the path") from None


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
