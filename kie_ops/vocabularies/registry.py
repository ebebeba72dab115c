"""All vocabularies and forms of files by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kie_ops.errors import InputError
from kie_ops.vocabularies import (
    accounting,
    companies,
    countries,
    csv_file,
    drugs,
    filers,
    hpo,
    icd10cm,
    mrconso,
    obo,
    skos,
)
from kie_ops.vocabularies.packages import version
from kie_ops.vocabularies.term import Term


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vocabulary of an installed package.

    `labels`: what its terms are, tried in order until a domain knows one.  `system` is empty where it has no concepts.
    """

    name: str
    about: str
    package: str
    labels: tuple[str, ...]
    system: str
    licence: str
    load: Callable[[], Iterator[Term]]

    @property
    def version(self) -> str:
        """Version of the package.  Raises InputError where it is not installed."""
        return version(self.package)


VOCABULARIES: Mapping[str, Vocabulary] = {v.name: v for v in (
    Vocabulary("hpo", "phenotypes: signs, symptoms, findings", hpo.PACKAGE, ("disease", "Disease"), "HP",
               "HPO's own (name it, show its version, do not change it); package MIT", hpo.load),
    Vocabulary("icd10cm", "diseases", icd10cm.PACKAGE, ("disease", "Disease"), icd10cm.SYSTEM,
               "public domain; package MIT", icd10cm.load),
    Vocabulary("drugs", "drug names, brands and codes", drugs.PACKAGE, ("chemical", "Chemical", "drug"), "",
               "MIT", drugs.load),
    Vocabulary("companies", "companies of stock indices, tickers", companies.PACKAGE, ("company", "organization"),
               companies.SYSTEM, "MIT", companies.load),
    Vocabulary("filers", "companies that file with the SEC, tickers", filers.PACKAGE, ("company", "organization"),
               filers.SYSTEM, "public domain; package MIT", filers.load),
    Vocabulary("accounting", "US GAAP concepts of statements", accounting.PACKAGE, ("kpi",), accounting.SYSTEM,
               "MIT", accounting.load),
    Vocabulary("countries", "countries", countries.PACKAGE, ("geopolitical_entity", "country", "location"),
               countries.SYSTEM, "LGPL-2.1", countries.load),
)}
FORMS = ("csv", "obo", "skos", "mrconso")
SUFFIXES: Mapping[str, str] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".obo": "obo", ".ttl": "skos", ".rdf": "skos", ".skos": "skos",
    ".nt": "skos", ".rrf": "mrconso",
}


def form_of(path: str | Path) -> str | None:
    """The form that a file's name suggests, one of FORMS; None where it suggests none."""
    return SUFFIXES.get(Path(str(path).removesuffix(".gz")).suffix.lower())


def terms(
    path: str | Path, form: str, *, system: str = "", release: str = "", label: str | None = None,
    separator: str = csv_file.SEPARATOR,
) -> Iterator[Term]:
    """The terms of a file of one of FORMS.  Raises InputError where it cannot be read as such."""
    if form == "csv":
        return csv_file.load(path, system=system, version=release, separator=separator, label=label)
    if form == "obo":
        return obo.load(path, system=system, version=release)
    if form == "skos":
        return skos.load(path, system=system, version=release)
    if form == "mrconso":
        return mrconso.load(path, system=system or mrconso.SYSTEM, version=release)
    raise InputError(f"no such form: {form}", next_step=f"one of {', '.join(FORMS)}")
