"""The memory as the reader of documents sees it: cells, contributions, and the small interface to recall them.

A *cell* holds what is known about one key: integer counts by field, and integer sums of quantised vectors by field.
A *contribution* is what one document or one correction adds: a set of integer increments.  Memory is the sum of its
contributions, so they commute, and each can be taken out exactly by adding its negation.

Field names (``|`` separates, it never occurs inside a part; :func:`field` escapes it)::

    source|scheme|entity|LABEL              the key was a mention of LABEL in so many documents
    source|scheme|part|LABEL                it was part of a longer mention of LABEL
    source|scheme|crossing|                 it crossed a mention's border
    source|scheme|none|                     it was seen and was no mention (self: possible, but not chosen)
    source|scheme|concept|LABEL|SYSTEM:ID   it stood for this concept; behind it the release of the code system, if any
    source|scheme|example|DOC               an example (kept by all sources but self)
    source|scheme|related|LABEL             relation cells (key = pair_key(...)): the pair had this relation
    source|scheme|head|LABEL|OTHER          bags of stems: in so many documents it was the head of LABEL to this concept
    source|scheme|tail|LABEL|OTHER          ... the tail of LABEL from this concept
    source|scheme|no head|LABEL|OTHER       ... both were there and could have been related so, and were not
    source|scheme|no tail|LABEL|OTHER
    source|scheme|prototype|LABEL           vector: sum of the mention's quantised vectors

    vocabulary|scheme|broader|LABEL|SYSTEM:ID|ANCESTOR|STEPS   of a name with several concepts: what lies above them

Cells of concepts (key = concept_key(...)) belong to no scheme::

    vocabulary||name|NAME                   its preferred name
    vocabulary||parent|SYSTEM:ID            what is broader
    vocabulary||system|SYSTEM|VERSION       the code system and its release
The cell ``learnt<US>SCHEME`` holds what reviews taught of a scheme's labels; its fields: kie_ops/learnt.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field as dataclass_field
from typing import Protocol

SOURCES = ("training", "vocabulary", "reviewer", "correction", "self")
"""Who counted: annotated documents, lists of names, reviews of whole documents, words of a person on one name, and the
pipeline itself.  A review is one document among others; a correction is meant for the name wherever it stands."""
PROTOTYPE_WIDTH = 64
PAIR_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True, order=True)
class Increment:
    """``cell[key][field] += count`` and, for a vector field, ``+= vector`` (PROTOTYPE_WIDTH integers of 32 bits)."""

    key: str
    field: str
    count: int
    vector: tuple[int, ...] | None = None

    def negated(self) -> Increment:
        vector = None if self.vector is None else tuple(-v for v in self.vector)
        return Increment(self.key, self.field, -self.count, vector)


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one document or one correction adds.  `origin` is the place, or the id of the correction or import."""

    origin: str
    increments: tuple[Increment, ...] = ()

    def negated(self) -> Contribution:
        return Contribution(self.origin, tuple(i.negated() for i in self.increments))


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts by field; zero counts are absent.  `vectors`: packed int32[PROTOTYPE_WIDTH] sums by field."""

    key: str
    counts: Mapping[str, int]
    vectors: Mapping[str, bytes] = dataclass_field(default_factory=dict)


View = Mapping[str, int]
"""Applied position by chain (``stream/partition``): what a memory contained when it was read."""


@dataclass(frozen=True, slots=True)
class Recall:
    """Cells of the keys that exist, and the view they were read at: one atomic read."""

    cells: Mapping[str, Cell]
    view: View


class Memory(Protocol):
    """All that reading a document needs of a memory."""

    def recall(self, keys: Collection[str]) -> Recall:
        """The cells of those of `keys` that exist, read atomically together with the view."""
        ...


def field(source: str, scheme: str, outcome: str, *rest: str) -> str:
    return "|".join(part.replace("|", "¦") for part in (source, scheme, outcome, *(rest or ("",))))


def split_field(name: str) -> tuple[str, str, str, tuple[str, ...]]:
    """(source, scheme, outcome, rest)."""
    source, scheme, outcome, *rest = name.split("|")
    return source, scheme, outcome, tuple(rest)


def pair_key(head: str, tail: str) -> str:
    """The key of a relation cell: an ordered pair of keys or concepts."""
    return f"pair{PAIR_SEPARATOR}{head}{PAIR_SEPARATOR}{tail}"


def concept_key(concept: str) -> str:
    """The key of a concept's own cell."""
    return f"concept{PAIR_SEPARATOR}{concept}"


def total(contributions: Iterable[Contribution]) -> tuple[Increment, ...]:
    """The sum of contributions as increments in canonical order (key, field), zero sums left out."""
    counts: dict[tuple[str, str], int] = {}
    vectors: dict[tuple[str, str], list[int]] = {}
    for contribution in contributions:
        for i in contribution.increments:
            at = (i.key, i.field)
            counts[at] = counts.get(at, 0) + i.count
            if i.vector is not None:
                have = vectors.setdefault(at, [0] * PROTOTYPE_WIDTH)
                vectors[at] = [a + b for a, b in zip(have, i.vector, strict=True)]
    out = []
    for at in sorted(counts):
        vector = tuple(vectors[at]) if at in vectors and any(vectors[at]) else None
        if counts[at] or vector:
            out.append(Increment(*at, counts[at], vector))
    return tuple(out)
