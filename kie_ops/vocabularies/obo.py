"""OBO files (format 1.2 and 1.4): terms with name, synonyms and is_a.

Source of the form: https://owlcollab.github.io/oboformat/doc/GO.format.obo-1_4.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kie_ops.errors import InputError
from kie_ops.vocabularies.term import Term, coded
from kie_ops.vocabularies.text_file import lines

_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(\w+)?\s*([\w:]+)?')
_ESCAPE = re.compile(r"\\(.)")
LEFT_OUT = frozenset({"BROAD"})
"""Scopes of synonyms that name something wider than the term."""
RETIRED = frozenset({"obsolete_synonym", "HP:0034334"})
"""Types of synonyms that are no names: withdrawn ones, and HPO's allelic requirements."""

Stanza = dict[str, list[str]]


def load(path: str | Path, *, system: str = "", version: str = "") -> Iterator[Term]:
    """The terms of an OBO file that are not obsolete.

    `system` is put before ids that state none; `version` defaults to the file's data-version.  Raises InputError where
    the file cannot be read or is no OBO.
    """
    found = stanzas(lines(path))
    header = next(found, {})
    if "format-version" not in header and "ontology" not in header:
        raise InputError("no OBO: the header has no format-version", where=str(path),
                         next_step="give an .obo file; for Turtle or RDF/XML say --as skos")
    release = version or next(iter(header.get("data-version", ())), "").rpartition("/")[2]
    for stanza in found:
        if stanza.get("") == ["Term"] and stanza.get("is_obsolete") != ["true"] and stanza.get("id"):
            yield _term(stanza, system, release)


def stanzas(given: Iterable[str]) -> Iterator[Stanza]:
    """Tags with their values: of the header first, then of each stanza, whose kind stands under the empty tag."""
    current: Stanza = {}
    for line in given:
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            yield current
            current = {"": [line[1:-1]]}
        elif line and not line.startswith("!"):
            tag, _, value = line.partition(":")
            current.setdefault(tag.strip(), []).append(value.strip())
    yield current


def _term(stanza: Stanza, system: str, version: str) -> Term:
    concept = coded(system, stanza["id"][0])
    synonyms = []
    for value in stanza.get("synonym", ()):
        match = _SYNONYM.match(value)
        if match and match[2] not in LEFT_OUT and match[3] not in RETIRED:
            synonyms.append(_plain(match[1]))
    parents = tuple(coded(system, value.split("!")[0].split("{")[0]) for value in stanza.get("is_a", ()))
    name = _plain(stanza.get("name", [""])[0])
    return Term(name, None, concept, tuple(synonyms), parents, system or concept.partition(":")[0], version, bool(name))


def _plain(text: str) -> str:
    return _ESCAPE.sub(r"\1", text).strip()
