"""Countries of ISO 3166-1, from the package `pycountry` (LGPL-2.1)."""

from __future__ import annotations

from collections.abc import Iterator

from kie_ops.vocabularies.packages import missing, version
from kie_ops.vocabularies.term import Term, coded

PACKAGE, SYSTEM = "pycountry", "ISO3166"


def load() -> Iterator[Term]:
    """One term a country: its names, common and official.  Codes are left out: AND, CAN and PER are among them.

    Raises InputError where the package is missing.
    """
    try:
        import pycountry
    except ImportError:
        raise missing(PACKAGE) from None
    release = version(PACKAGE)
    for country in pycountry.countries:
        stated = (country.name, getattr(country, "common_name", ""), getattr(country, "official_name", ""))
        names = list(dict.fromkeys(n for one in stated if one for n in turned(one)))
        yield Term(names[0], None, coded(SYSTEM, country.alpha_2), tuple(names[1:]), (), SYSTEM, release)


def turned(name: str) -> list[str]:
    """A name with its addition in front of it, and without it; others as they are.

    >>> turned("Ruritania, Kingdom of")
    ['Kingdom of Ruritania', 'Ruritania']
    """
    short, comma, addition = name.partition(", ")
    return [f"{addition} {short}", short] if comma else [name]
