"""An eviction never outlives the document whose cells it took out, wherever it is paused while that is forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from kie_ops.memory import Contribution, Increment, field
from kie_ops.records import Place
from pipelines import erasure, parts, recovery, rows
from pipelines.commit_log import Log
from pipelines.ledger import Ledger
from pipelines.operations import Operation, Operations
from pipelines.tombstones import Tombstones
from pipelines.transaction import Transaction
from tests.pipelines import chains
from tests.pipelines.chains import Killed
from tests.pipelines.ledger_world import World, restore, snapshot

ROW = field("self", "bc5cdr", "entity", "Chemical")


def place(offset: int) -> Place:
    return Place(chains.STREAM, 0, offset)


@pytest.fixture
def world() -> World:
    """Two documents with a cell of their own each."""
    world = World()
    given = [Contribution(str(place(n)), (Increment(key, ROW, 1),)) for n, key in enumerate(("once", "other"))]
    tables = rows.to_tables([chains.reading(n) for n in (0, 1)], [], given, chains.DOMAIN, chains.VERSION)
    assert world.log(0).commit(Transaction(chains.STREAM, 0, 0, 2, {}, "e", tables))
    world.catch_up()
    return world


def counts(world: World) -> dict[str, int]:
    world.catch_up()
    assert recovery.verify(world.storage, world.store) == []
    return {cell.key: sum(cell.counts.values()) for cell in world.store.cells()}


def test_paused_before_its_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_at, paused = Operations.commit_at, []

    def late(self: Operations, start: int, operations: Sequence[Operation], view: Mapping[str, int]) -> int:
        if not paused:
            paused.append(start)
            Ledger(world.storage, world.store).forget(place=place(0))
        return commit_at(self, start, operations, view)

    monkeypatch.setattr(Operations, "commit_at", late)
    assert world.ledger.evict(max_cells=1) == 0
    assert paused
    assert counts(world) == {"other": 1}


def test_paused_before_its_commit_and_memory_restored_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy knows no erasure: what is chosen from it must not be committed."""
    saved, catch_up = snapshot(world.store), recovery.catch_up

    def restored(*given: object) -> dict[str, int]:
        positions = catch_up(*given)  # type: ignore[arg-type]
        restore(world.store, saved)
        return positions

    world.ledger.forget(place=place(0))
    with monkeypatch.context() as m:
        m.setattr(recovery, "catch_up", restored)
        assert world.ledger.evict(max_cells=1) == 0
    assert counts(world) == {"other": 1}


def test_committed_between_the_search_for_evictions_and_the_tombstone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury, raced = erasure.bury, []

    def late(*given: object) -> bool:
        if not raced:
            raced.append(Ledger(world.storage, world.store).evict(max_cells=1))
        return bury(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(erasure, "bury", late)
    done = world.ledger.forget(place=place(0))
    assert raced == [2]
    assert [p.stream for p in done.places] == [chains.STREAM, "evictions"]
    assert counts(world) == {}


def test_a_crash_after_the_tombstone_leaves_its_evictions_to_whoever_ends_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury = erasure.bury

    def killed(*given: object) -> bool:
        Ledger(world.storage, world.store).evict(max_cells=1)
        bury(*given)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as m:
        m.setattr(erasure, "bury", killed)
        with pytest.raises(Killed):
            world.ledger.forget(place=place(0))
    assert Ledger(world.storage, world.store).finish_erasures() == 1
    assert len(Tombstones.load(world.storage)) == 2
    assert counts(world) == {}


def test_asking_again_writes_no_second_note(world: World) -> None:
    world.ledger.forget(place=place(0))
    world.ledger.finish_erasures()
    assert world.ledger.evictions.refresh() == 1


def test_a_contribution_is_found_though_it_is_trimmed_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trim comes between the look at the floor and the reading."""
    world.commit(0, 2)
    floor, looked = Log.floor, []

    def late(self: Log) -> int:
        found = floor(self)
        looked.append(found)
        if len(looked) == 2:
            world.publisher.publish(world.log(0))
        return found

    monkeypatch.setattr(Log, "floor", late)
    assert parts.contribution(world.log(0), 1) == (Increment("other", ROW, 1),)
    assert floor(world.log(0)) == 4
    with pytest.raises(FileNotFoundError):
        parts.contribution(world.log(0), 9)
