"""A batch's readings, dead letters and contributions as rows of the tables (kie_ops.schemas), and back.

Rows stand in order of offset, then of span, so that tables written from any cut of the same documents are the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from kie_ops.errors import DocumentError, LogError
from kie_ops.memory import PROTOTYPE_WIDTH, Contribution, Increment, split_field
from kie_ops.records import DeadLetter, Document, Event, Evidence, Mention, Place, Reading, Relation
from kie_ops.schemas import TABLES

_VECTOR = struct.Struct(f"<{PROTOTYPE_WIDTH}i")
Row = dict[str, Any]


def to_tables(
    readings: Iterable[Reading],
    dead_letters: Iterable[DeadLetter],
    contributions: Iterable[Contribution],
    domain: str,
    model_version: str,
) -> dict[str, pa.Table]:
    """The tables of one transaction; all but `transactions`, which publishing adds.

    `domain` is the pipeline's, for documents without one of their own.  A contribution's `origin` is the place of its
    document.  Raises DocumentError where a text cannot be stored (lone surrogates), LogError where a row lacks what
    its schema demands.
    """
    by_place = {str(_place(reading.document)): reading for reading in readings}
    ordered = sorted(by_place.values(), key=lambda reading: _place(reading.document).offset)
    letters = sorted(dead_letters, key=lambda letter: letter.place.offset)
    places = {origin: _place(reading.document) for origin, reading in by_place.items()}
    rows: dict[str, list[Row]] = {
        "documents": [_document(reading, domain, model_version) for reading in ordered],
        "entities": [row for reading in ordered for row in _entities(reading, domain)],
        "relations": [row for reading in ordered for row in _relations(reading, domain)],
        "events": [row for reading in ordered for row in _events(reading, domain)],
        "dead_letters": [_dead_letter(letter, domain) for letter in letters],
    }
    tables = {name: _table(name, found) for name, found in rows.items()}
    try:
        placed = sorted(((places[c.origin], c) for c in contributions), key=lambda pair: pair[0].offset)
    except KeyError as e:
        raise LogError(f"a contribution of no document in this batch: {e.args[0]}") from None
    return {**tables, "memory_log": memory_log(placed)}


def memory_log(contributions: Iterable[tuple[Place, Contribution]]) -> pa.Table:
    """Rows of memory_log in the order given.  A correction's or import's place is that in its own chain."""
    return _table("memory_log", [
        {**_at(place), "origin": contribution.origin, **_increment(increment)}
        for place, contribution in contributions for increment in contribution.increments
    ])


def increments(table: pa.Table) -> list[Increment]:
    """The increments of memory_log rows, in their order."""
    columns = (table[name].to_pylist() for name in ("key", "field", "count", "prototype"))
    return [Increment(key, field, count, None if packed is None else _VECTOR.unpack(packed))
            for key, field, count, packed in zip(*columns, strict=True)]


def contributions(table: pa.Table) -> Iterator[tuple[Place, Contribution]]:
    """memory_log rows put together by origin, in order of place: the inverse of `memory_log`."""
    grouped: dict[tuple[Place, str], list[Increment]] = {}
    columns = (table[name].to_pylist() for name in ("stream", "partition", "offset", "origin"))
    for (stream, partition, offset, origin), increment in zip(
        zip(*columns, strict=True), increments(table), strict=True
    ):
        grouped.setdefault((Place(stream, partition, offset), origin), []).append(increment)
    for place, origin in sorted(grouped):
        yield place, Contribution(origin, tuple(grouped[place, origin]))


def _table(name: str, rows: Sequence[Row]) -> pa.Table:
    schema = TABLES[name]
    try:
        columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    except UnicodeEncodeError as e:
        where = next((_where(row) for row in rows if not _encodable(row)), None)
        raise DocumentError("not_utf8", f"a text holds a lone surrogate ({name})", where=where,
                            next_step="let the parser make such a record a dead letter") from e
    for field, column in zip(schema, columns, strict=True):
        if not field.nullable and column.null_count:
            empty = next(row for row in rows if row.get(field.name) is None)
            raise LogError(f"{name}.{field.name} is empty", where=_where(empty))
    return pa.Table.from_arrays(columns, schema=schema)


def _encodable(value: object) -> bool:
    """Whether every text in a row is UTF-8."""
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, Mapping):
        return all(_encodable(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return all(map(_encodable, value))
    return True


def _where(row: Row) -> str:
    return f"{row.get('stream')}/{row.get('partition')}/{row.get('offset')}"


def _place(document: Document) -> Place:
    if document.place is None:
        raise LogError(f"document {document.doc_id} has no place in a stream", next_step="read it through a feed")
    return document.place


def _at(place: Place) -> Row:
    return {"stream": place.stream, "partition": place.partition, "offset": place.offset}


def _common(document: Document, domain: str) -> Row:
    return {**_at(_place(document)), "doc_id": document.doc_id, "domain": document.domain or domain}


def _document(reading: Reading, domain: str, model_version: str) -> Row:
    document = reading.document
    return {
        **_common(document, domain), "lang": document.lang, "title": document.title,
        "timestamp": document.timestamp, "meta": sorted(document.meta.items()),
        "characters": len(document.text), "characters_read": reading.characters_read, "windows": reading.windows,
        "entities": len(reading.mentions), "relations": len(reading.relations), "events": len(reading.events),
        "text_sha256": hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest(),
        "model_version": model_version,
    }


def _entities(reading: Reading, domain: str) -> Iterator[Row]:
    common = _common(reading.document, domain)
    for m in sorted(reading.mentions, key=_mention_order):
        yield {
            **common, "mention_id": m.mention_id, "start": m.start, "end": m.end, "text": m.text, "label": m.label,
            "concept": m.concept, "score": m.score, "text_score": m.text_score, "soft_weight": m.soft_weight,
            "evidence": _evidence(m.evidence),
        }


def _relations(reading: Reading, domain: str) -> Iterator[Row]:
    common = _common(reading.document, domain)
    for r in sorted(reading.relations, key=_relation_order(reading.mentions)):
        yield {
            **common, "relation_id": r.relation_id, "head": r.head, "tail": r.tail, "label": r.label,
            "score": r.score, "evidence": _evidence(r.evidence),
        }


def _events(reading: Reading, domain: str) -> Iterator[Row]:
    common = _common(reading.document, domain)
    for e in sorted(reading.events, key=_event_order):
        arguments = sorted(e.arguments, key=lambda a: (a.role, a.start, a.end, a.mention_id or ""))
        yield {
            **common, "event_id": e.event_id, "label": e.label, "start": e.start, "end": e.end,
            "trigger": e.trigger, "score": e.score, "attributes": sorted(e.attributes.items()),
            "arguments": [{"role": a.role, "mention_id": a.mention_id, "start": a.start, "end": a.end,
                           "text": a.text, "score": a.score} for a in arguments],
        }


def _dead_letter(letter: DeadLetter, domain: str) -> Row:
    return {
        **_at(letter.place), "domain": domain, "reason": letter.reason, "error_class": letter.error_class,
        "message": letter.message, "retriable": letter.retriable, "characters": letter.characters,
        "raw": letter.raw, "key": letter.key, "timestamp": letter.timestamp,
        "headers": [{"name": name, "value": value} for name, value in letter.headers],
    }


def _increment(increment: Increment) -> Row:
    source, scheme, _, _ = split_field(increment.field)
    packed = None if increment.vector is None else _VECTOR.pack(*increment.vector)
    return {"key": increment.key, "source": source, "scheme": scheme, "field": increment.field,
            "count": increment.count, "prototype": packed}


def _evidence(evidence: Sequence[Evidence]) -> list[Row]:
    return [{"key": e.key, "source": e.source, "outcome": e.outcome, "label": e.label, "count": e.count,
             "example_doc": e.example} for e in evidence]


def _mention_order(mention: Mention) -> tuple[int, int, str, str]:
    return mention.start, mention.end, mention.label, mention.mention_id


def _event_order(event: Event) -> tuple[int, int, str, str]:
    return event.start, event.end, event.label, event.event_id


def _relation_order(mentions: Sequence[Mention]) -> Callable[[Relation], tuple[Any, ...]]:
    """By the spans of head and tail; a mention that is not in the reading counts as the end of the text."""
    spans = {m.mention_id: (m.start, m.end) for m in mentions}
    last = (2**63, 2**63)
    return lambda r: (spans.get(r.head, last), spans.get(r.tail, last), r.label, r.relation_id)
