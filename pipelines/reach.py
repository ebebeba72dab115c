"""What a correction reaches: the keys it is counted under, the rows that have them now, and what is against it.

A name is looked up under its own key, other spellings (capitals, singular) and, where a document defines one, the
long form of an abbreviation.  So rows are found by the keys their surface would be looked up under, and abbreviations
by the evidence they were read with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kie_ops import surface
from kie_ops.domain import Domain
from kie_ops.memory import Memory, split_field
from pipelines.conflicts import NONE, Voice, voices
from pipelines.corrections import Correction
from pipelines.ledger import operation
from pipelines.queries import Row, Tables

Kind = Literal["exact", "inflected", "abbreviation"]
PREFIX = 4
"""Characters of the first word by which rows are looked up before their keys are compared."""
MANY = 5
"""Surfaces named of a form."""
ROWS = """
    select text, label, count(*) as mentions, count(distinct (stream, "partition", "offset")) as documents,
           bool_or(len(list_filter(evidence, lambda e: e.key = $key)) > 0) as used
    from entities
    where contains(lower(text), $prefix) or len(list_filter(evidence, lambda e: e.key = $key)) > 0
    group by text, label order by text, label
"""


@dataclass(frozen=True, slots=True)
class Form:
    """A key that the correction hits.  `labels`: what rows of it were read as; `surfaces`: how they stand in text."""

    key: str
    kind: Kind
    rows: int = 0
    documents: int = 0
    labels: Mapping[str, int] | None = None
    surfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """`against`: sources that memory holds, by the schemes the correction is of, and that say something else."""

    forms: tuple[Form, ...]
    against: tuple[Voice, ...]

    @property
    def rows(self) -> int:
        return sum(form.rows for form in self.forms)

    @property
    def documents(self) -> int:
        """At most: a document counts once for each form."""
        return sum(form.documents for form in self.forms)


def reach(tables: Tables, memory: Memory, domain: Domain, correction: Correction) -> Reach:
    """The reach of a correction that adds something, before it does.  Raises InputError where it cannot be used."""
    made = operation(domain, correction).increments
    said = {}
    for increment in made:
        _, scheme, outcome, rest = split_field(increment.field)
        if outcome in ("entity", NONE):
            said[scheme] = rest[0] if outcome == "entity" else NONE
    key = surface.key_of_text(correction.text or "")
    assert key is not None                                          # else the operation was refused
    written = list(dict.fromkeys([key, *(i.key for i in made)]))
    return Reach(tuple(_forms(tables, key, written)), tuple(_against(memory, key, said)))


def _forms(tables: Tables, key: str, written: Sequence[str]) -> list[Form]:
    found: dict[tuple[str, Kind], list[Row]] = {(key, "exact"): []}
    found.update({(other, "inflected"): [] for other in written if other != key})
    for row in tables.rows(ROWS, {"key": key, "prefix": key.lower().split(" ")[0][:PREFIX]}):
        its = surface.key_of_text(row["text"])
        if its is None:
            continue
        kind = kind_of(key, written, its, used=bool(row["used"]))
        if kind is not None:
            found.setdefault((its, kind), []).append(row)
    return [_form(at, kind, rows) for (at, kind), rows in found.items()]


def kind_of(key: str, written: Sequence[str], other: str, *, used: bool) -> Kind | None:
    """How a name with the key `other` would come to look up what is counted under `written`; None: it would not.

    used: whether a row of it was read with `key` as evidence.
    """
    if other == key:
        return "exact"
    if {*surface.back_off(other), other} & set(written):
        return "inflected"
    return "abbreviation" if used else None


def _form(key: str, kind: Kind, rows: Sequence[Row]) -> Form:
    labels: dict[str, int] = {}
    for row in rows:
        labels[row["label"]] = labels.get(row["label"], 0) + row["mentions"]
    mentions, documents = sum(labels.values()), sum(row["documents"] for row in rows)
    return Form(key, kind, mentions, documents, labels, tuple(dict.fromkeys(row["text"] for row in rows))[:MANY])


def _against(memory: Memory, key: str, said: Mapping[str, str]) -> list[Voice]:
    wanted = [key, *surface.back_off(key)]
    cells = memory.recall(wanted).cells
    return [voice for k in wanted if k in cells for voice in voices(cells[k])
            if voice.scheme in said and voice.label != said[voice.scheme]]
