"""The interface that both memories keep, and what its calls answer.

Positions
    A memory stands, for each chain of the log (``stream/partition``), at a position: everything before it has been
    applied, nothing after it.  A chain not seen yet stands at 0, so the first transaction of a log that begins at
    500 is applied with ``start=0``: nothing lies before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kie_ops.memory import Cell, Increment, Memory

ERASURES = "erasures/0"
"""The chain whose position every application names."""


class Applied(Enum):
    """What an application did.  Only APPLIED wrote anything."""

    APPLIED = "applied"
    SKIPPED = "skipped"
    """The chain already stands at `end` or beyond: somebody, perhaps this caller before a lost answer, was first."""
    BEHIND = "behind"
    """The chain does not stand at `start`: read `positions()` and catch up from the log."""
    STALE = "stale"
    """The memory stands at another erasure than the caller knows: read the erasures chain, then try again."""


@dataclass(frozen=True, slots=True)
class Stats:
    """`cells` with at least one field, non-zero `fields` in them, `bytes` (an estimate by sampling), `log_keys`
    (entries of the version log; more than `cells` where keys went and came again), and the view."""

    cells: int
    fields: int
    bytes: int | None
    log_keys: int
    positions: Mapping[str, int]


class MemoryStore(Memory, Protocol):
    """A memory that contributions are applied to exactly once.

    Not guaranteed: that what was applied survives a crash of the server (the log does; see `positions`), and an
    order between chains (contributions commute).
    """

    namespace: str

    def positions(self) -> dict[str, int]:
        """Applied position by chain.  Empty after a wipe."""
        ...

    def apply(
        self, chain: str, start: int, end: int, increments: Sequence[Increment], *, erasures: int
    ) -> Applied:
        """Adds `increments` and advances `chain` from `start` to `end`, in one atomic step, or writes nothing.

        `erasures` is the position of the erasures chain that the caller knows; any other gives STALE, before
        everything else.  Safe to repeat.  Raises InputError for increments that no memory can hold, LogError for a
        memory that holds what engram did not write, ServiceError where the server does not answer.
        """
        ...

    def erase(self, position: int, end: int, chain: str, offset: int, inverse: Sequence[Increment]) -> Applied:
        """Advances the erasures chain from `position` to `end`, in one atomic step.

        Adds `inverse` where `chain` is applied beyond `offset`; else the document has not been applied and, as the
        erasure is now known, never will be.  Safe to repeat.
        """
        ...

    def cells(self) -> Iterator[Cell]:
        """All cells, sorted by key, exact and at one view.  ServiceError where the memory changes meanwhile."""
        ...

    def by_age(self) -> Iterator[Cell]:
        """All cells, that created last at the end; what changes meanwhile may or may not be seen."""
        ...

    def stats(self) -> Stats: ...

    def clear(self) -> None:
        """Forgets everything, positions included."""
        ...

    def compact(self) -> bool:
        """Drops what is left of cells that are gone; worth it where `stats().log_keys` is far above `cells`.

        False where the memory was cleared or compacted meanwhile, which is as good.
        """
        ...

    def close(self) -> None: ...
