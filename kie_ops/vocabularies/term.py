"""A term of a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that a vocabulary names.

    `name` is the preferred name, `synonyms` are the others; both as a text would write them.  `concept` and `parents`
    are concept ids, ``SYSTEM:ID``; a term without names of its own to look for has `named` False and only carries the
    hierarchy.  `label` is the term's own, where its file states one.  `system` and `version` name the code system.
    """

    name: str
    label: str | None = None
    concept: str | None = None
    synonyms: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    system: str = ""
    version: str = ""
    named: bool = True


def coded(system: str, id: str) -> str:
    """``SYSTEM:ID``; an id that states its own system stays as it is; ``|``, which separates fields, is replaced."""
    id = id.strip().replace("|", "¦")
    return id if not system or ":" in id else f"{system}:{id}"
