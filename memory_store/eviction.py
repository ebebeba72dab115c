"""Which cells go when a namespace has more than its cap.

The rule: only cells that engram wrote itself (every field's source is self) from what it saw once, oldest first.  What
training, vocabularies and reviewers wrote never goes.  An eviction is a contribution like any other, of negative
increments: committed to the log (`CHAIN`) and applied from there, so memory stays the sum of its contributions.

Not guaranteed: that the cap is kept where too few cells may go.  An eviction takes out what a document had added, so
whoever erases that document later has to take its evictions back with it; else its cells stay at minus one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kie_ops.memory import Cell, Contribution, Increment, split_field
from memory_store.cells import increments_of
from memory_store.store import MemoryStore

CHAIN = "evictions/0"
KEEP = 0.95
"""Share of the cap that is left, so that not every batch evicts."""
_SIGHTINGS = ("entity", "part", "crossing", "none", "related")


def seen_once(cell: Cell) -> bool:
    """Whether engram alone wrote this cell, from one sighting (in each scheme)."""
    sightings: Counter[str] = Counter()
    for name in cell.counts.keys() | cell.vectors.keys():
        source, scheme, outcome, _ = split_field(name)
        count = cell.counts.get(name, 0)
        if source != "self" or count < 0:
            return False
        if outcome in _SIGHTINGS:
            sightings[scheme] += count
    return max(sightings.values(), default=0) <= 1


def choose(oldest_first: Iterable[Cell], excess: int) -> tuple[Increment, ...]:
    """The increments that take the first `excess` cells of the rule out of memory.  Pure."""
    out: list[Increment] = []
    for cell in oldest_first:
        if excess <= 0:
            break
        if seen_once(cell):
            out += [i.negated() for i in increments_of(cell)]
            excess -= 1
    return tuple(out)


def due(store: MemoryStore, max_cells: int) -> Contribution | None:
    """What to evict now, to be committed by the caller; None below the cap or where nothing may go."""
    cells = store.stats().cells
    if cells <= max_cells:
        return None
    increments = choose(store.by_age(), cells - int(KEEP * max_cells))
    return Contribution("eviction", increments) if increments else None
