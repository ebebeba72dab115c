"""Annotated documents in JSON Lines, as examples of a scheme: spans and relations as word ranges.

One JSON object a line: ``doc_id``, ``text``, and optionally ``entities`` (id, start, end, label, concept),
``relations`` (head, tail, label, level), ``events`` (label, triggers, arguments with roles), ``meta``.  Offsets are
Python character offsets.  Documents with ``meta.repeat_of`` repeat an earlier text and are left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kie_ops import words as wording
from kie_ops.domain import TRIGGER, Domain, RelationScheme, Scheme
from kie_ops.encoder import DEFAULT
from kie_ops.errors import InputError
from kie_ops.heads import Endpoint
from kie_ops.records import Document
from kie_ops.words import Words

SPLITS = ("train", "dev", "test")
OVERLAPS = "overlap-pmids.json"
MAX_WORDS = 24
"""Longest span a head of a user's own scheme scores."""


@dataclass(frozen=True, slots=True)
class Gold:
    """An annotated span: characters, end exclusive.  `concept` as the source writes it (several joined)."""

    start: int
    end: int
    label: str
    concept: str | None = None
    span_id: str = ""


@dataclass(frozen=True, slots=True)
class GoldRelation:
    """`head`, `tail`: span ids at level ``mention``, concepts at level ``concept``."""

    head: str
    tail: str
    label: str
    level: str


@dataclass(frozen=True, slots=True)
class Example:
    """One annotated document of a scheme.

    `spans`: entities; of events, triggers as ``trigger:LABEL`` and arguments under their role.  `events`: as read.
    """

    scheme: str
    document: Document
    spans: tuple[Gold, ...]
    relations: tuple[GoldRelation, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()


def load(path: str | Path, scheme: str) -> list[Example]:
    """All documents of one file.  Raises InputError with file, line and what is wrong."""
    examples = [example for _, example in _lines(Path(path), scheme)]
    if not examples:
        raise InputError("there is no document in this file", where=str(path), next_step="give a file with documents")
    return examples


def split(data: str | Path, domain: Domain, scheme: str, name: str) -> list[Example]:
    """The documents of one split of `scheme` below the folder `data`, as the domain cuts it.

    `data` holds a folder for each scheme, or is the folder (or the one file) of the only scheme.  A train split
    leaves out documents that another scheme of the domain has in its dev or test (`OVERLAPS`, where it is there).
    A set without a dev file gives 10 % of train, by hash of doc_id.
    """
    root = Path(data)
    folder = root / scheme if (root / scheme).is_dir() else root
    part = domain.part(scheme, name)
    path, low, high = folder / f"{part.file}.jsonl", part.low, part.high
    if scheme not in domain.parts and name in ("train", "dev") and not (folder / "dev.jsonl").is_file():
        path, (low, high) = folder / "train.jsonl", (0, 90) if name == "train" else (90, 100)
    if root.is_file():
        path = root
    if not path.is_file():
        raise InputError(f"there is no {name} part of {scheme}", where=str(path),
                         next_step=f"put a {path.name} there, in JSON Lines")
    taken = held_out(root, scheme, ("dev", "test")) if name == "train" else (
        held_out(root, scheme, ("test",)) if name == "dev" else frozenset())
    return [merged(e, domain) for e in load(path, scheme) if low <= percent(e.document.doc_id) < high
            and e.document.doc_id not in taken]


def merged(example: Example, domain: Domain) -> Example:
    """The example with the labels that its scheme reads as others (Scheme.merge) renamed."""
    merge = domain.schemes[example.scheme].merge if example.scheme in domain.schemes else {}
    if not merge:
        return example
    spans = tuple(dataclasses.replace(s, label=merge.get(s.label, s.label)) for s in example.spans)
    return dataclasses.replace(example, spans=spans)


def percent(doc_id: str) -> int:
    """0..99, of the id alone: cuts a set into parts that stay the same."""
    return int.from_bytes(hashlib.blake2b(doc_id.encode("utf-8", "replace"), digest_size=4).digest()) % 100


def held_out(root: Path, scheme: str, parts: Sequence[str]) -> frozenset[str]:
    """Ids of `scheme` that lie in one of these parts of another set next to it."""
    path = root / OVERLAPS
    if not path.is_file():
        return frozenset()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for rows in table.values() for row in rows if scheme in row]
        return frozenset(str(r["pmid"]) for r in rows if any(
            other != scheme and other != "pmid" and where in parts for other, where in r.items()
        ))
    except (ValueError, AttributeError, KeyError, TypeError, OSError) as e:
        raise InputError(f"cannot read the table of shared documents: {e}", where=str(path),
                         next_step="restore or remove it") from None


def derive(name: str, examples: Sequence[Example], *, encoder: str = DEFAULT) -> Domain:
    """A domain of its own from a user's data: one scheme with the labels found, everything emitted as it is named."""
    labels = sorted({s.label for e in examples for s in e.spans})
    if not labels:
        raise InputError("no document has an entity or event, so there is nothing to learn", where=name,
                         next_step="annotate spans under `entities`")
    lengths = [b - a + 1 for e in examples for a, b, _ in word_spans(e, wording.split(e.document.text))]
    longest = int(np.quantile(lengths, 0.995)) if lengths else 1
    nested = any(_nested(e.spans) for e in examples)
    scheme = Scheme(tuple(labels), min(max(longest, 4), MAX_WORDS), nested)
    relation = _relation_scheme(examples)
    plain = [label for label in labels if any(s.label == label and s.span_id for e in examples for s in e.spans)]
    triggers = {label: label[len(TRIGGER):] for label in labels if label.startswith(TRIGGER)}
    roles = {label: label for label in labels if label not in triggers and label not in plain}
    return Domain.parse({
        "name": name, "encoder": encoder, "schemes": {name: vars_of(scheme)},
        "relations": {name: vars_of(relation)} if relation else {},
        "output": {
            "entities": {name: {label: label for label in plain}},
            "relations": {name: {label: label for label in relation.labels}} if relation else {},
            "events": {name: {"triggers": triggers, "roles": roles}} if triggers else {},
        },
    })


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _relation_scheme(examples: Sequence[Example]) -> RelationScheme | None:
    found = [(e, r) for e in examples for r in e.relations]
    if not found:
        return None
    level = "document" if all(r.level == "concept" for _, r in found) else "sentence"
    pairs: set[tuple[str, str]] = set()
    for e, r in found:
        by_id = {(s.span_id if r.level == "mention" else s.concept): s.label for s in e.spans}
        if r.head in by_id and r.tail in by_id:
            pairs.add((by_id[r.head], by_id[r.tail]))
    return RelationScheme(tuple(sorted({r.label for _, r in found})), level, tuple(sorted(pairs)))  # type: ignore[arg-type]


def _nested(spans: Sequence[Gold]) -> bool:
    ordered = sorted({(s.start, s.end) for s in spans})
    same = len({(s.start, s.end, s.label) for s in spans}) > len(ordered)
    return same or any(b[0] < a[1] for a, b in pairwise(ordered))


def word_spans(example: Example, words: Words) -> list[tuple[int, int, str]]:
    """Gold spans as (first word, last word inclusive, label): words that overlap the span."""
    out = []
    for s in example.spans:
        first = int(np.searchsorted(words.offsets[:, 1], s.start, side="right"))
        last = int(np.searchsorted(words.offsets[:, 0], s.end, side="left")) - 1
        if first <= last:
            out.append((first, last, s.label))
    return out


def candidate_pairs(
    example: Example, words: Words, relation: RelationScheme
) -> tuple[list[Endpoint], list[Endpoint], np.ndarray]:
    """All pairs of gold endpoints that the relation scheme allows, and float32 [pairs, labels] which hold."""
    points = _concepts(example, words) if relation.level == "document" else _mentions(example, words)
    holds: dict[tuple[str, str], set[str]] = {}
    for r in example.relations:
        both = [(r.head, r.tail)] + ([(r.tail, r.head)] if r.label in relation.symmetric else [])
        for pair in both:
            holds.setdefault(pair, set()).add(r.label)
    sentence_of = words.sentence_of()
    heads: list[Endpoint] = []
    tails: list[Endpoint] = []
    gold: list[list[float]] = []
    for a, head in points:
        for b, tail in points:
            if a == b or not relation.allows(head.label, tail.label):
                continue
            apart = abs(int(sentence_of[head.spans[0][0]]) - int(sentence_of[tail.spans[0][0]]))
            if relation.level == "sentence" and apart > relation.max_sentences:
                continue
            heads.append(head)
            tails.append(tail)
            found = holds.get((a, b), set())
            gold.append([float(label in found) for label in relation.labels])
    return heads, tails, np.array(gold, dtype=np.float32).reshape(-1, len(relation.labels))


def _mentions(example: Example, words: Words) -> list[tuple[str, Endpoint]]:
    out = []
    for span in example.spans:
        for first, last, label in word_spans(Example("", example.document, (span,)), words):
            out.append((span.span_id, Endpoint(label, ((first, last),))))
    return out


def _concepts(example: Example, words: Words) -> list[tuple[str, Endpoint]]:
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for span in example.spans:
        for concept in (span.concept or "").split("|"):
            for first, last, label in word_spans(Example("", example.document, (span,)), words):
                if concept:
                    groups.setdefault((concept, label), []).append((first, last))
    return [(concept, Endpoint(label, tuple(spans))) for (concept, label), spans in groups.items()]


def _lines(path: Path, scheme: str) -> Iterator[tuple[int, Example]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    record = json.loads(line)
                except ValueError as e:
                    raise InputError(f"not JSON: {e}", where=where, next_step="one JSON object a line") from None
                example = _example(record, scheme, where)
                if example is not None:
                    yield number, example
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8: {e.reason}", where=str(path), next_step="save the file as UTF-8") from None
    except OSError as e:
        raise InputError(f"cannot read: {e.strerror or e}", where=str(path), next_step="check the path") from None


def example(record: Any, scheme: str, where: str) -> Example | None:
    """One record as an example; None where it repeats an earlier text.  Raises InputError that names `where`."""
    return _example(record, scheme, where)


def _example(record: Any, scheme: str, where: str) -> Example | None:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError("a document needs a `text`", where=where, next_step='write {"doc_id": ..., "text": ...}')
    text = record["text"]
    if "\x00" not in text and not text.strip():
        raise InputError("the text is empty", where=where, next_step="remove the line")
    meta = record.get("meta") or {}
    if "repeat_of" in meta:
        return None
    spans: list[Gold] = []
    for entity in _list(record, "entities", where):
        start, end = _offsets(entity, text, where)
        concept = entity.get("concept")
        spans.append(Gold(start, end, _label(entity, "label", where), None if concept is None else str(concept),
                          str(entity.get("id") or f"{start}-{end}")))
    events = _list(record, "events", where)
    spans.extend(_event_spans(events, text, where))
    ids = {s.span_id for s in spans} | {c for s in spans for c in (s.concept or "").split("|")}
    relations = []
    for r in _list(record, "relations", where):
        head, tail = str(r.get("head")), str(r.get("tail"))
        for end_id in (head, tail):
            if end_id not in ids and end_id not in {s.concept for s in spans}:
                raise InputError(f"a relation names {end_id}, which no entity has as id or concept", where=where,
                                 next_step="name ids or concepts of this document's entities")
        relations.append(GoldRelation(head, tail, _label(r, "label", where), str(r.get("level") or "mention")))
    document = Document(
        doc_id=str(record.get("doc_id") or where), text=text, domain=record.get("domain"), lang=record.get("lang"),
        title=record.get("title"), meta={k: str(v) for k, v in meta.items()},
    )
    return Example(scheme, document, tuple(spans), tuple(relations), tuple(events))


def _event_spans(events: Iterable[Mapping[str, Any]], text: str, where: str) -> list[Gold]:
    found: dict[Gold, None] = {}
    for event in events:
        label = _label(event, "label", where)
        for trigger in _list(event, "triggers", where):
            found[Gold(*_offsets(trigger, text, where), TRIGGER + label)] = None
        for argument in _list(event, "arguments", where):
            found[Gold(*_offsets(argument, text, where), _label(argument, "role", where))] = None
    return list(found)


def _list(record: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    value = record.get(name) or []
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise InputError(f"`{name}` is not a list of objects", where=where)
    return value


def _label(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"`{name}` is missing or no text", where=where, next_step=f"give each span a `{name}`")
    return value


def _offsets(span: Mapping[str, Any], text: str, where: str) -> tuple[int, int]:
    start, end = span.get("start"), span.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise InputError(f"a span has start {start!r} and end {end!r}, outside the text of {len(text)} characters",
                         where=where, next_step="offsets count Python characters, end exclusive")
    surface = span.get("text")
    if surface is not None and surface != text[start:end]:
        raise InputError(f"a span says {surface!r}, the text has {text[start:end]!r} at {start}..{end}", where=where,
                         next_step="offsets count Python characters (not bytes or UTF-16 units), end exclusive")
    return start, end
