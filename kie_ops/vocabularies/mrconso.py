"""UMLS concept names: MRCONSO.RRF, and MRREL.RRF next to it for parents.

Source of the form: UMLS Reference Manual, chapter 3, https://www.ncbi.nlm.nih.gov/books/NBK9685/.  The files need a
UMLS licence; engram ships nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kie_ops.errors import InputError
from kie_ops.vocabularies.term import Term, coded
from kie_ops.vocabularies.text_file import lines

SYSTEM = "UMLS"
COLUMNS = 18
"""Of MRCONSO: CUI, LAT, TS, LUI, STT, SUI, ISPREF, AUI, SAUI, SCUI, SDUI, SAB, TTY, CODE, STR, SRL, SUPPRESS, CVF."""
CUI, LAT, TS, STT, ISPREF, STR, SUPPRESS = 0, 1, 2, 4, 6, 14, 16


def load(path: str | Path, *, system: str = SYSTEM, version: str = "", lang: str = "ENG") -> Iterator[Term]:
    """One term a concept: its preferred name and its other names in `lang` that are not suppressed.

    Rows of one concept stand together, as in all releases.  Parents are those of MRREL.RRF in the same folder, where
    it is there.  Raises InputError with file and line where a row is no row of MRCONSO.
    """
    parents = _parents(Path(path).with_name(Path(path).name.replace("MRCONSO", "MRREL")))
    current, preferred, names = "", "", dict[str, None]()

    def term() -> Term:
        name = preferred or next(iter(names))
        above = tuple(coded(system, p) for p in parents.get(current, ()))
        return Term(name, None, coded(system, current), tuple(n for n in names if n != name), above, system, version)

    for number, line in enumerate(lines(path), 1):
        row = line.rstrip("\r\n").split("|")
        if len(row) < COLUMNS:
            raise InputError(f"{len(row)} columns are no row of MRCONSO", where=f"{path}, line {number}",
                             next_step="give MRCONSO.RRF as it lies in the release")
        if row[LAT] != lang or row[SUPPRESS] not in ("N", ""):
            continue
        if row[CUI] != current:
            if names:
                yield term()
            current, preferred, names = row[CUI], "", {}
        names[row[STR]] = None
        if row[TS] == "P" and row[STT] == "PF" and row[ISPREF] == "Y" and not preferred:
            preferred = row[STR]
    if names:
        yield term()


def _parents(path: Path) -> dict[str, tuple[str, ...]]:
    """Parents by concept of MRREL (REL says what the second concept is to the first: PAR or CHD)."""
    found: dict[str, set[str]] = {}
    if path.is_file() and "MRREL" in path.name:
        for line in lines(path):
            row = line.split("|", 5)
            if len(row) > 4 and row[3] in ("PAR", "CHD") and row[0] != row[4]:
                child, parent = (row[0], row[4]) if row[3] == "PAR" else (row[4], row[0])
                found.setdefault(child, set()).add(parent)
    return {child: tuple(sorted(parents)) for child, parents in found.items()}
