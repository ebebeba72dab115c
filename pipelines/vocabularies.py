"""What ``engram memory import`` reads: a vocabulary by its name, or a file of terms in one of several forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.vocabularies import registry
from kie_ops.vocabularies.increments import Imported, of_terms


@dataclass(frozen=True, slots=True)
class Wanted:
    """How terms are to be read.  `system` and `release` are for files that state none; `guarded`: see the guard."""

    label: str | None = None
    system: str = ""
    release: str = ""
    separator: str = "|"
    guarded: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """A vocabulary by name, or else a file: `kind` is ``vocabulary``, a form (registry.FORMS), or what else it is."""

    name: str
    kind: str
    path: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def source_of(given: str, kind: str | None) -> Source:
    """What `given` is: a known vocabulary's name, else a file (``./hpo`` for a file of such a name).

    Raises InputError where it is neither, naming the vocabularies.
    """
    known = registry.VOCABULARIES.get(given) if kind is None else None
    if known is not None:
        return Source(given, "vocabulary", None, {"package": known.package, "version": known.version})
    path = Path(given)
    if not path.is_file():
        names = ", ".join(registry.VOCABULARIES)
        raise InputError("no such file or vocabulary", where=given, next_step=f"a file, or one of {names}")
    if kind == "vocabulary":
        return Source(path.name, "csv", path)
    return Source(path.name, kind or registry.form_of(path) or "memory", path)


def terms_of(
    source: Source, domain: Domain, wanted: Wanted, progress: Callable[[int], None] = lambda terms: None
) -> Imported:
    """The terms of `source` as contributions.  Raises InputError: see kie_ops.vocabularies.increments."""
    if source.path is None:
        known = registry.VOCABULARIES[source.name]
        labels = (wanted.label,) if wanted.label else known.labels
        return of_terms(known.load(), domain, source.name, labels=labels, guarded=wanted.guarded, progress=progress)
    terms = registry.terms(source.path, source.kind, system=wanted.system, release=wanted.release, label=wanted.label,
                           separator=wanted.separator)
    labels = (wanted.label,) if wanted.label else ()
    return of_terms(terms, domain, source.name, labels=labels, guarded=wanted.guarded, progress=progress)
