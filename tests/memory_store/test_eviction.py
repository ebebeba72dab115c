from __future__ import annotations

import pytest

from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Increment, field
from memory_store.eviction import choose, due, seen_once
from memory_store.local import LocalStore
from memory_store.store import MemoryStore

ENTITY, NONE = field("self", "s", "entity", "X"), field("self", "s", "none")
OTHER = field("self", "t", "entity", "Y")


@pytest.mark.parametrize(
    ("counts", "once"),
    [
        ({ENTITY: 1}, True), ({ENTITY: 1, OTHER: 1}, True),
        ({ENTITY: 1, field("self", "s", "concept", "X", "M:1"): 1}, True),
        ({ENTITY: 2}, False), ({ENTITY: 1, NONE: 1}, False), ({ENTITY: -1}, False),
        ({ENTITY: 1, field("reviewer", "s", "entity", "X"): 1}, False), ({field("training", "s", "none"): 1}, False),
        ({field("vocabulary", "s", "entity", "X"): 1}, False),
    ],
)
def test_the_rule(counts: dict[str, int], once: bool) -> None:
    assert seen_once(Cell("a", counts)) is once


def test_takes_the_oldest_that_may_go() -> None:
    cells = [Cell("old but often", {ENTITY: 5}), Cell("b", {ENTITY: 1}), Cell("a", {NONE: 1}), Cell("new", {NONE: 1})]
    assert choose(cells, 2) == (Increment("b", ENTITY, -1), Increment("a", NONE, -1))
    assert choose(cells, 0) == ()
    assert len(choose(cells, 99)) == 3


def test_an_evicted_memory_is_one_that_never_saw_them(store: MemoryStore) -> None:
    vector = (7,) * PROTOTYPE_WIDTH
    for n in range(120):
        increments = [Increment(f"{n}", ENTITY, 1, vector if n % 2 else None)]
        if n % 10 == 0:
            increments.append(Increment(f"{n}", field("reviewer", "s", "entity", "X"), 1))
        store.apply("s/0", n, n + 1, increments, erasures=0)
    assert due(store, 120) is None
    gone = due(store, 100)
    assert gone is not None
    store.apply("evictions/0", 0, 1, gone.increments, erasures=0)
    assert store.stats().cells == 95
    kept = {cell.key for cell in store.cells()}
    assert kept == {f"{n}" for n in range(120) if n % 10 == 0 or n > 27}


def test_nothing_to_evict_where_all_was_taught() -> None:
    store = LocalStore()
    store.apply("s/0", 0, 1, [Increment(f"{n}", field("reviewer", "s", "none"), 1) for n in range(9)], erasures=0)
    assert due(store, 3) is None
