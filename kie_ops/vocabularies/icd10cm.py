"""ICD-10-CM, the United States' clinical modification of ICD-10, from the package `simple-icd-10-cm`.

Source: National Center for Health Statistics (public domain); the package is MIT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kie_ops.vocabularies.packages import installed, missing
from kie_ops.vocabularies.term import Term, coded

PACKAGE, SYSTEM = "simple-icd-10-cm", "ICD10CM"
NO_DISEASES = frozenset({"20", "21"})
"""Chapters of external causes (a fall, a bite) and of reasons for contact with health services."""
_RESIDUAL = re.compile(
    r"(other|unspecified|certain)\b|.*\b(not elsewhere classified|classified elsewhere)", re.IGNORECASE
)
"""Names of what is left over in a group: no text uses them."""
_TAIL = re.compile(r",? (unspecified|NOS)$", re.IGNORECASE)
_ASIDE = re.compile(r"\s*[(\[][^)\]]*[)\]]")
_RELEASE = re.compile(r"icd10c-tabular-(.+)\.xml")


def load() -> Iterator[Term]:
    """Chapters, blocks, categories and codes with their inclusion terms; codes with a seventh character (the encounter)
    and chapters without diseases are left out.  Takes about four seconds.  Raises InputError."""
    version = release()
    try:
        import simple_icd_10_cm as icd
    except ImportError:
        raise missing(PACKAGE) from None
    chapters: dict[str, str] = {}
    for code in icd.get_all_codes(with_dots=True):  # parents come before their children
        parent = icd.get_parent(code)
        chapters[code] = chapters.get(parent, code)
        if chapters[code] in NO_DISEASES or icd.is_extended_subcategory(code):
            continue
        title = icd.get_description(code)
        names = [n for full in (title, *icd.get_inclusion_term(code)) for n in names_of(full)]
        yield Term(
            title, None, coded(SYSTEM, code), tuple(n for n in dict.fromkeys(names) if n != title),
            (coded(SYSTEM, parent),) if parent else (), SYSTEM, version, named=not _RESIDUAL.match(title),
        )


def release() -> str:
    """The release that the package holds, as its data file is named (April-1-2026); else the package's version."""
    found = installed(PACKAGE)
    names = (_RELEASE.search(str(file)) for file in found.files or ())
    return next((match[1] for match in names if match), found.version)


def names_of(title: str) -> list[str]:
    """A title as texts write it: without asides in brackets and without ``, unspecified``; none of a residual class.

    >>> names_of("Essential (primary) hypertension")
    ['Essential (primary) hypertension', 'Essential hypertension']
    """
    plain = _TAIL.sub("", _ASIDE.sub("", title)).strip()
    return [n for n in dict.fromkeys((title, plain)) if n and not _RESIDUAL.match(n)]
