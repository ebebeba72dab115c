"""Accounting concepts of US GAAP as XBRL names them, from data files of `edgartools` (MIT)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kie_ops.vocabularies.packages import data_file, version
from kie_ops.vocabularies.term import Term, coded

PACKAGE, SYSTEM, STANDARD = "edgartools", "US-GAAP", "EDGARTOOLS"
MAPPINGS = "edgar/xbrl/standardization/gaap_mappings.json"
DISPLAY = "edgar/xbrl/standardization/display_names.json"
LABELS = "edgar/entity/data/learned_mappings.json"
_NO_LINE = re.compile(r"(Abstract|Axis|Domain|Member|Table|LineItems|TextBlock|Policy)$")
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_ASIDE = re.compile(r"\s*[(\[][^)\]]*[)\]]|:$")


def load() -> Iterator[Term]:
    """One term a concept of a statement's line, below the standard line that edgartools maps it to.

    Names are the concept's own, spelt out, and the labels that filers use most.  The package itself is not imported.
    Raises InputError where it is not installed.
    """
    release = version(PACKAGE)
    mapped, labelled, shown = _json(MAPPINGS), _json(LABELS), _json(DISPLAY)
    for tag in sorted({t for entry in mapped.values() for t in entry.get("standard_tags", ())}):
        name = shown.get(tag) or spelt(tag)
        synonyms = tuple(n for n in (spelt(tag), *_plain(name)) if n != name)
        yield Term(name, None, coded(STANDARD, tag), synonyms, (), STANDARD, release)
    for concept in sorted(mapped.keys() | labelled.keys()):
        if _NO_LINE.search(concept):
            continue
        name = spelt(concept)
        labels = _plain(labelled.get(concept, {}).get("label", ""))
        tags = mapped.get(concept, {}).get("standard_tags", ())
        yield Term(name, None, coded(SYSTEM, concept), tuple(n for n in labels if n != name),
                   tuple(coded(STANDARD, t) for t in tags), SYSTEM, release)


def spelt(concept: str) -> str:
    """An XBRL name in words.

    >>> spelt("AccountsReceivableNetCurrent")
    'accounts receivable net current'
    """
    return " ".join(w if len(w) > 1 and w.isupper() else w.lower() for w in _WORDS.findall(concept))


def _plain(label: str) -> list[str]:
    """A filer's label without asides, and in lower case where all of it is shouted."""
    plain = _ASIDE.sub("", label).strip()
    return [plain.lower() if plain.isupper() else plain] if plain else []


def _json(path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(data_file(PACKAGE, path).read_text(encoding="utf-8"))
    return found
