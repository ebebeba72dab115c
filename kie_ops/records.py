"""Plain records that all packages share: documents, what was read in them, and what could not be read.

All offsets are Python character offsets into `Document.text` as received, end exclusive; for every span
``text[start:end] == span.text``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a document stands: topic, partition and offset in Kafka; archive, file number and row in a backfill."""

    stream: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.stream}/{self.partition}/{self.offset}"

    @property
    def chain(self) -> str:
        """The partition's name in a view: ``stream/partition``."""
        return f"{self.stream}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Document:
    """One document as received.  `timestamp` is in milliseconds since 1970-01-01 UTC."""

    doc_id: str
    text: str
    domain: str | None = None
    lang: str | None = None
    title: str | None = None
    timestamp: int | None = None
    meta: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a source before it is read: bytes and where they stand.

    `before` is the position just before this record (offsets have holes): a batch that begins with it starts there.
    """

    place: Place
    before: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be read as a document, kept whole so that it can be put back."""

    place: Place
    reason: str
    error_class: str
    message: str
    retriable: bool
    raw: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None
    characters: int | None = None
    """Characters of the text, where it could be decoded; else None and `len(raw)` bytes count."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One memory that took part in a decision.

    `source` is one of kie_ops.memory.SOURCES; `outcome` and `label` say what was counted; `count` how often.
    `example` names a document or correction that wrote it, where the source keeps one (self does not: the
    memory_log table has them all).
    """

    key: str
    source: str
    outcome: str
    label: str
    count: int
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity as it stands in the text.  `score` is a calibrated probability, `soft_weight` = w_s of the gate."""

    mention_id: str
    start: int
    end: int
    text: str
    label: str
    score: float
    text_score: float
    soft_weight: float
    concept: str | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    relation_id: str
    head: str
    tail: str
    label: str
    score: float
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    role: str
    start: int
    end: int
    text: str
    score: float
    mention_id: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    event_id: str
    label: str
    start: int
    end: int
    trigger: str
    score: float
    arguments: tuple[Argument, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in one document."""

    document: Document
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Relation, ...] = ()
    events: tuple[Event, ...] = ()
    characters_read: int = 0
    windows: int = 0


def span_id(place: Place | None, doc_id: str, kind: str, start: int, end: int, label: str = "") -> str:
    """A pure function of place (else document id) and span: 20 hexadecimal digits."""
    where = str(place) if place is not None else f"doc:{doc_id}"
    return hashlib.blake2b(f"{where}|{kind}|{start}|{end}|{label}".encode(), digest_size=10).hexdigest()
