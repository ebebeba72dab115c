"""A user's own terms: CSV (or TSV) with a header, or a term a line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from kie_ops.errors import InputError
from kie_ops.vocabularies.term import Term, coded
from kie_ops.vocabularies.text_file import lines

COLUMNS = ("term", "id", "label", "synonyms", "parents")
SEPARATOR = "|"


def load(
    path: str | Path, *, system: str = "", version: str = "", separator: str = SEPARATOR, label: str | None = None
) -> Iterator[Term]:
    """The terms of a file whose header names `term` (or `name`), and optionally the other COLUMNS; else of its lines.

    `synonyms` and `parents` hold several values with `separator` between them; lines that share an id are one concept.
    `label` is taken where a line states none.  Raises InputError with file, line and what is wrong.
    """
    file = lines(path)
    first = next(file, "")
    delimiter = "\t" if "\t" in first else ","
    header = ["term" if n.strip().lower() == "name" else n.strip().lower() for n in next(_rows([first], delimiter), [])]
    table = "term" in header
    rows = _rows(file, delimiter, header) if table else ({"term": line.strip()} for line in _all(first, file))
    try:
        for number, row in enumerate(rows, 2 if table else 1):
            name = (row.get("term") or "").strip()
            if not name:
                continue
            own = (row.get("label") or "").strip() or label
            if own is None:
                raise InputError("a term has no label", where=f"{path}, line {number}",
                                 next_step="add a column `label`, or give one label for the whole file")
            id = (row.get("id") or "").strip()
            concept = coded(system, id) if id else None
            yield Term(
                name, own, concept, tuple(_several(row.get("synonyms"), separator)),
                tuple(coded(system, p) for p in _several(row.get("parents"), separator)),
                system or (concept or "").partition(":")[0], version,
            )
    except csv.Error as e:
        raise InputError(f"not CSV: {e}", where=str(path), next_step="see docs/memory.md for the form") from None


def _rows(file: Iterable[str], delimiter: str, header: list[str] | None = None) -> Iterator:  # type: ignore[type-arg]
    if header is None:
        return iter(csv.reader(file, delimiter=delimiter))
    return iter(csv.DictReader(file, fieldnames=header, delimiter=delimiter))


def _all(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _several(value: str | None, separator: str) -> list[str]:
    return [part.strip() for part in (value or "").split(separator) if part.strip()]
