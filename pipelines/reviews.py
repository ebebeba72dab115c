"""A whole document as a reviewer reads it: all of its mentions by one scheme, in the form of training data.

A review is one correction with an id: it is committed to the same chain, in force for the next document, and taken
back by its id.  It says more than single corrections: what the tagger found possible in this document and the reviewer
did not mark is no mention (:func:`kie_ops.contributions.of_review`).  A label that the scheme does not have, and a
scheme that the domain does not have, are stored as they are said; what is emitted does not change by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kie_ops import contributions, dataset, priming
from kie_ops.candidates import FEATURES, Candidates
from kie_ops.dataset import Example
from kie_ops.decisions import Decided, decide
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.extractor import Extractor, sketch_of
from memory_store import dump
from pipelines.operations import Op, Operation

Placed = tuple[str, Mapping[str, Any]]
"""Where a record stands, and the record."""
KIND = "review"
EXTRA = ("id", "op", "scheme", "reviewer", "reason")
"""Fields of a review besides those of an annotated document."""
MAX_NAME = 200
NEXT = ('a review looks like {"id": "r-9", "op": "review", "doc_id": "note-17", "text": "...", "scheme": "NAME", '
        '"entities": [{"start": 0, "end": 9, "label": "Chemical"}]}; see docs/operations.md')


@dataclass(frozen=True, slots=True)
class Review:
    """All mentions of one scheme in one document, said by `reviewer`.  `new_labels`: those the scheme does not have."""

    id: str
    example: Example
    new_labels: tuple[str, ...] = ()
    reviewer: str | None = None
    reason: str | None = None

    def meta(self) -> dict[str, Any]:
        """What is kept of it next to its increments; never the text."""
        document = self.example.document
        said = {
            "kind": KIND, "doc_id": document.doc_id, "scheme": self.example.scheme,
            "text_sha256": hashlib.sha256(document.text.encode()).hexdigest(), "mentions": len(self.example.spans),
            "labels": sorted({s.label for s in self.example.spans}), "reviewer": self.reviewer, "reason": self.reason,
        }
        return {name: value for name, value in said.items() if value is not None}


def validate(
    data: object, domain: Domain, *, where: str = "the review", id: str | None = None, scheme: str | None = None,
    text: str | None = None,
) -> Review:
    """`data` (a JSON object) as a review.  `id`, `scheme` and `text` stand where it names none.

    Without a scheme it is the only one that the domain emits entities of.  Labels are the scheme's own or emitted
    names.  Raises InputError, which names the field and holds no document text beyond a span.
    """
    if not isinstance(data, Mapping):
        raise InputError("a review is a JSON object", where=where, next_step=NEXT)
    said = {name: _name(data.get(name), name, where) for name in EXTRA}
    by = said["scheme"] or scheme or _only_scheme(domain, where)
    record = {name: value for name, value in data.items() if name not in EXTRA}
    if record.get("text") is None:
        record["text"] = text
    if not isinstance(record["text"], str) or not isinstance(record.get("entities"), list):
        lacks = "text" if not isinstance(record["text"], str) else "entities"
        raise InputError(f"a review has no `{lacks}`", where=where, next_step=NEXT)
    _encodable(record["text"], where)
    example = dataset.example({**record, "meta": {}}, by, where)
    assert example is not None                                  # only a `repeat_of` in meta gives none
    rules = domain.schemes.get(by)
    spans = tuple(replace(s, label=own_label(domain, by, s.label)) for s in example.spans)
    new = sorted({s.label for s in spans} - set(rules.labels if rules else ()))
    name = said["id"] or id
    if name is None:
        raise InputError("a review has no `id`", where=where, next_step=NEXT)
    return Review(name, replace(example, spans=spans), tuple(new), said["reviewer"], said["reason"])


def operation(extractor: Extractor, review: Review) -> Operation:
    """A review as an operation, with what it adds to memory.  Reads the document: as costly as a document."""
    example = review.example
    emits = set(extractor.definition.schemes) & set(extractor.gate.thresholds)
    known = example.scheme in emits
    (reading,) = extractor.encode([example.document], [example.scheme] if known else None)
    names = sketch_of(reading).names
    decided = decide(names, extractor.definition, extractor.gate, example.scheme) if known else _nothing(example.scheme)
    gold = priming.marked(example, names)
    made = contributions.of_review(review.id, names, gold, decided, example.document.doc_id)
    dump.check(made.increments)
    return Operation(Op.ADD, review.id, made.increments, review.meta())


def own_label(domain: Domain, scheme: str, label: str) -> str:
    """`label`, a scheme's own or an emitted name in whatever case, as the scheme's own; a new one as it stands."""
    rules = domain.schemes.get(scheme)
    if rules is None or label in rules.labels:
        return label
    names = {emitted: own for own, emitted in domain.output.entities.get(scheme, {}).items()}
    pool = {**{own.casefold(): own for own in rules.labels}, **{e.casefold(): own for e, own in names.items()}}
    return rules.merge.get(label) or names.get(label) or pool.get(label.casefold(), label)


def _only_scheme(domain: Domain, where: str) -> str:
    emitted = list(domain.output.entities) or list(domain.schemes)
    if len(emitted) != 1:
        raise InputError("a review is of one scheme, and the domain emits several", where=where,
                         next_step=f"name one, --scheme or `scheme`: {', '.join(domain.schemes)}, or a new one")
    return emitted[0]


def _nothing(scheme: str) -> Decided:
    """Of a scheme that the model does not score: nothing was found possible, so nothing is said to be none."""
    none, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
    found = Candidates(scheme, (), none, none, none, np.zeros((0, len(FEATURES))), np.zeros(0, dtype=bool), ())
    return Decided(found, empty, empty, empty, (), None)


def _name(value: object, field: str, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME:
        raise InputError(f"`{field}` is no text of 1 to {MAX_NAME} characters", where=where, next_step=NEXT)
    _encodable(value, where)
    return value


def _encodable(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("it holds half a surrogate pair, which no UTF-8 can express", where=where) from None


def of_document(records: Sequence[Placed], doc_id: str | None) -> list[Placed]:
    """Those of `records` that are of `doc_id`, or name no document; all of them where it is None.

    Raises InputError where there is none.
    """
    found = [(where, r) for where, r in records if doc_id is None or r.get("doc_id") in (doc_id, None)]
    if not found:
        ids = ", ".join(sorted({str(r.get("doc_id")) for _, r in records})[:5]) or "no document"
        raise InputError("the file has no review of this document", where=doc_id, next_step=f"it has: {ids}")
    return found
