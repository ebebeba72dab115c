"""What memory knows of a concept: preferred name, code system and release, and what lies above it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kie_ops.memory import Cell, Memory, concept_key, split_field
from kie_ops.vocabularies.hierarchy import above

STEPS = 20
"""Steps up to which ancestors are looked up, each a read of memory."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    concept: str
    name: str | None
    steps: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """A concept; `systems` are ``SYSTEM RELEASE``, `ancestors` nearest first; `name` is None where none is kept."""

    concept: str
    name: str | None
    systems: tuple[str, ...] = ()
    ancestors: tuple[Ancestor, ...] = ()

    def path(self, limit: int = 5) -> str:
        """The nearest ancestors in one line."""
        return " < ".join(f"{a.concept} {a.name or ''}".strip() for a in self.ancestors[:limit])


def lineages(memory: Memory, concepts: Iterable[str]) -> tuple[Lineage, ...]:
    """Of those of `concepts` that memory has a cell for, in the order given.  Raises ServiceError."""
    asked = list(dict.fromkeys(part for concept in concepts for part in concept.split("|")))
    cells: dict[str, Cell] = {}
    level = asked
    for _ in range(STEPS):
        fresh = [c for c in dict.fromkeys(level) if c not in cells]
        found = memory.recall([concept_key(c) for c in fresh]).cells if fresh else {}
        cells.update({c: found[concept_key(c)] for c in fresh if concept_key(c) in found})
        level = [p for c in fresh if c in cells for p in stated(cells[c], "parent")]
        if not level:
            break
    parents = {c: stated(cell, "parent") for c, cell in cells.items()}

    def name(concept: str) -> str | None:
        return next(iter(stated(cells[concept], "name")), None) if concept in cells else None

    return tuple(
        Lineage(c, name(c), stated(cells[c], "system"),
                tuple(Ancestor(a, name(a), steps) for a, steps in above(parents, c).items()))
        for c in asked if c in cells
    )


def concepts_in(cells: Iterable[Cell]) -> list[str]:
    """The concepts that cells of names stand for, and those that the cells themselves are of; most counted first."""
    counted: dict[str, int] = {}
    for cell in cells:
        prefix, separator, concept = cell.key.partition("\x1f")
        if separator and prefix == "concept":
            counted[concept] = counted.get(concept, 0) + 1
        for name, count in cell.counts.items():
            _, _, outcome, rest = split_field(name)
            if outcome == "concept" and len(rest) > 1 and count > 0:
                which = rest[1].replace("¦", "|")
                counted[which] = counted.get(which, 0) + count
    return sorted(counted, key=lambda c: (-counted[c], c))


def stated(cell: Cell, outcome: str) -> tuple[str, ...]:
    """What fields of `outcome` say in a concept's cell, sorted; parts of a field with a blank between them."""
    found: Sequence[tuple[str, tuple[str, ...]]] = [
        (what, rest) for what, rest in (split_field(n)[2:] for n, count in cell.counts.items() if count > 0)
    ]
    return tuple(sorted(" ".join(filter(None, rest)) for what, rest in found if what == outcome))
