"""Forgetting gives the memory that never saw the document, whatever came before, after and in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from kie_ops.errors import InputError, ServiceError
from kie_ops.memory import Contribution, Increment, field
from kie_ops.records import Place
from memory_store.local import LocalStore
from memory_store.store import ERASURES, Applied
from pipelines import erasure, recovery, rows
from pipelines.tombstones import Tombstones
from pipelines.transaction import Transaction
from tests.pipelines import chains
from tests.pipelines.chains import KillAt, Killed, hooked
from tests.pipelines.ledger_world import SEGMENT, World, content, restore, snapshot


@pytest.fixture
def world() -> Iterator[World]:
    return World()


def place(offset: int, partition: int = 0) -> Place:
    return Place(chains.STREAM, partition, offset)


def test_memory_as_if_never_seen_though_others_followed(world: World) -> None:
    for _ in range(3):
        world.read(0, 2)
        world.read(1, 3)
    world.correct("c1")
    world.forget(place(1))
    world.read(0, 2)
    never = World()
    for p, offsets in ((0, [0, *range(2, 8)]), (1, range(7))):
        log = never.log(p)
        for start in range(0, log.end() + 9, SEGMENT):
            assert log.commit(chains.transaction(start, start + SEGMENT, offsets, partition=p))
    never.correct("c1")
    never.catch_up()
    world.check()
    assert content(world.store) == content(never.store)


@pytest.mark.parametrize("trimmed", [False, True])
def test_its_rows_are_gone_from_log_and_tables_and_no_others(world: World, trimmed: bool) -> None:
    for _ in range(3):
        world.read(0, 2)
    if trimmed:
        world.publish()
    others = [place(o) for o in (0, 1, 3, 5)]
    before = world.rows_of(others)
    assert world.rows_of([place(2)])
    world.forget(place(2))
    assert world.rows_of([place(2)]) == []
    assert set(before) <= set(world.rows_of(others))
    world.publish()
    assert world.rows_of([place(2)]) == []
    world.check()


def test_every_document_of_an_id(world: World) -> None:
    world.read(0, 3)
    world.read(1, 3)  # the same ids in another partition
    done = world.ledger.forget(doc_id="doc-1")
    assert done.places == (place(1, 0), place(1, 1))
    assert not done.already
    for each in done.places:
        world.documents.pop(each)
    world.check()
    assert world.ledger.forget(doc_id="doc-1").already
    assert len(Tombstones.load(world.storage)) == 2


def test_a_dead_letter_by_place(world: World) -> None:
    for _ in range(3):
        world.read(0, 2)
    assert world.rows_of([place(4)])
    world.forget(place(4))
    assert world.rows_of([place(4)]) == []
    world.check()


def test_reviewers_corrections_of_it_stay_and_are_named(world: World) -> None:
    world.read(0, 2)
    from tests.pipelines.ledger_world import taught

    world.ledger.correct("c1", taught("c1"), {"doc_id": "doc-1"})
    world.ledger.correct("c2", taught("c2"), {"doc_id": "doc-0"})
    world.ledger.correct("c3", taught("c3"), {"doc_id": "doc-1"})
    world.ledger.undo("c3")
    assert world.ledger.forget(doc_id="doc-1").corrections == ("c1",)


@pytest.mark.parametrize("arguments", [
    {"place": place(99)}, {"doc_id": "no such"}, {}, {"place": place(0), "doc_id": "doc-0"},
    {"place": Place("corrections", 0, 0)}, {"place": Place("nowhere", 3, 0)},
])
def test_nothing_to_forget_is_a_clear_error(world: World, arguments: dict) -> None:
    world.read(0)
    world.correct("c1")
    with pytest.raises(InputError):
        world.ledger.forget(**arguments)
    assert len(Tombstones.load(world.storage)) == 0


def test_the_tombstone_tells_neither_id_nor_text(world: World) -> None:
    world.read(0, 2)
    world.ledger.forget(doc_id="doc-1")
    (tombstone,) = Tombstones.load(world.storage)
    written = world.storage.read("_log/erasures/0/" + "0" * 20)
    assert b"doc-1" not in written
    assert b"Aspirin" not in written
    assert tombstone.hash == erasure.keyed_hash(world.storage, "doc-1", _sha256(chains.TEXT))
    assert tombstone.hash != erasure.keyed_hash(World().storage, "doc-1", _sha256(chains.TEXT))


def _sha256(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


# -- faults ---------------------------------------------------------------------------------------------------------


def test_a_worker_between_commit_and_apply_does_not_bring_it_back(world: World) -> None:
    world.read(0, 2)
    start, end = world.commit(0, 2)                     # a worker stands between steps 4 and 5
    world.forget(place(start))
    added = chains.contribution(start).increments
    assert world.store.apply(f"{chains.STREAM}/0", start, end, added, erasures=0) in (Applied.STALE, Applied.SKIPPED)
    world.check()


def test_forgotten_while_somebody_with_older_tombstones_catches_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.catch_up()
    world.commit(0, 2)
    settle, raced = erasure.settle, []

    def late(*given: Any) -> bool:
        done = settle(*given)
        if not raced:
            raced.append(True)
            assert erasure.bury(world.storage, place(1), "hash", "id")
            assert settle(world.storage, world.store, Tombstones.load(world.storage))
        return done

    monkeypatch.setattr(erasure, "settle", late)
    world.documents.pop(place(1))
    world.check()
    assert raced


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("saved_before", ["document", "forget"])
def test_memory_restored_to_an_older_copy(world: World, trimmed: bool, saved_before: str) -> None:
    world.read(0, 2)
    saved = snapshot(world.store)
    world.read(0, 2)
    if saved_before == "forget":
        saved = snapshot(world.store)
    if trimmed:
        world.publish()
    world.forget(place(3))
    restore(world.store, saved)
    world.check()
    assert world.store.positions()[ERASURES] == 1


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("lose", [False, True])
def test_a_crash_at_every_step_is_ended_by_asking_again(trimmed: bool, lose: bool) -> None:
    steps = _forget_with_crash(10**6, trimmed, lose)
    assert {"erased", "marked", "scrubbed"} <= set(steps)
    for n, step in enumerate(steps, 1):
        if step != "temp-written" and step not in steps[n:]:     # the last passing of each
            _forget_with_crash(n, trimmed, lose)


def _forget_with_crash(n: int, trimmed: bool, lose: bool) -> list[str]:
    world = World()
    world.read(0, 2)
    world.read(0, 2)
    world.read(1, 3)
    if trimmed:
        world.publish()
    saved = snapshot(world.store)
    kill = KillAt(n)
    try:
        with hooked(kill):
            world.ledger.forget(doc_id="doc-1")
    except Killed:
        if lose:
            restore(world.store, saved)
        world.catch_up()                                # another worker goes on
        world.read(0, 2)
        world = _reopened(world)
        world.ledger.forget(doc_id="doc-1")
    for partition in (0, 1):
        world.documents.pop(place(1, partition))
    world.check()
    assert world.rows_of([place(1, 0), place(1, 1)]) == []
    return kill.passed


def _reopened(world: World) -> World:
    """As another process sees it."""
    return World(world.storage, world.store, world.documents, world.corrections, world.undone)


def test_memory_away_leaves_the_tombstone_and_asking_again_ends_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.read(0, 2)
    saved = content(world.store)

    def away(*_: object) -> Applied:
        raise ServiceError("the server does not answer")

    with monkeypatch.context() as m:
        m.setattr(LocalStore, "erase", away)
        with pytest.raises(ServiceError):
            world.ledger.forget(place=place(1))
    assert content(world.store) == saved
    assert world.rows_of([place(1)])
    world.forget(place(1))
    world.check()
    assert world.rows_of([place(1)]) == []


def test_finish_erasures_ends_all_of_them(world: World) -> None:
    world.read(0, 3)
    with pytest.raises(Killed), hooked(KillAt(1)):
        world.ledger.forget(place=place(1))
    assert world.rows_of([place(1)])
    assert world.ledger.finish_erasures() == 1
    world.documents.pop(place(1))
    world.check()
    assert world.rows_of([place(1)]) == []


def test_two_at_once_leave_one_tombstone(world: World) -> None:
    """The second buries between the first's look and its commit."""
    world.read(0, 3)
    assert erasure.bury(world.storage, place(0), "h", "e0")
    other = erasure._bury_once

    def racing(log, where, hash, id):
        erasure._bury_once = other                      # once
        assert erasure.bury(world.storage, place(1), "h", "other")
        assert erasure.bury(world.storage, place(2), "h", "other")
        log.tail = 1                                    # as it was seen before
        return other(log, where, hash, id)

    erasure._bury_once = racing
    try:
        assert not erasure.bury(world.storage, place(2), "h", "mine")
    finally:
        erasure._bury_once = other
    assert sorted(t.place.offset for t in Tombstones.load(world.storage)) == [0, 1, 2]


# -- evictions ------------------------------------------------------------------------------------------------------


def rare(offset: int, *keys: str) -> Contribution:
    name = field("self", "bc5cdr", "entity", "Chemical")
    return Contribution(str(place(offset)), tuple(Increment(key, name, 1) for key in keys))


def commit_rare(world: World, *contributions: Contribution) -> None:
    log = world.log(0)
    start = log.end()
    readings = [chains.reading(start + n) for n in range(len(contributions))]
    tables = rows.to_tables(readings, [], contributions, chains.DOMAIN, chains.VERSION)
    assert log.commit(Transaction(log.stream, 0, start, start + len(readings), {}, "e", tables))
    world.catch_up()


def test_an_evicted_cell_does_not_stay_at_minus_one(world: World) -> None:
    commit_rare(world, rare(0, "once", "also once"), rare(1, "twice"), rare(2, "twice"))
    assert world.ledger.evict(max_cells=1) == 2
    assert [cell.key for cell in world.store.cells()] == ["twice"]
    commit_rare(world, rare(3, "once"))                 # seen again after it was evicted
    world.ledger.forget(place=place(0))
    assert {cell.key: sum(cell.counts.values()) for cell in world.store.cells()} == {"once": 1, "twice": 2}
    assert recovery.verify(world.storage, world.store) == []
    recovery.rebuild(world.storage, world.store)
    assert {cell.key: sum(cell.counts.values()) for cell in world.store.cells()} == {"once": 1, "twice": 2}
    for offset in (1, 2, 3):
        world.ledger.forget(place=place(offset))
    assert list(world.store.cells()) == []


def test_nothing_is_evicted_below_the_cap_or_twice(world: World) -> None:
    commit_rare(world, rare(0, "a"), rare(1, "b"), rare(2, "c"))
    assert world.ledger.evict(max_cells=3) == 0
    assert world.ledger.evict(max_cells=2) >= 1
    left = [cell.key for cell in world.store.cells()]
    assert world.ledger.evict(max_cells=2) == 0
    assert [cell.key for cell in world.store.cells()] == left


# -- any order ------------------------------------------------------------------------------------------------------

_ids = st.sampled_from(["c1", "c2", "c3"])
_steps = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("commit"), st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("correct"), _ids),
    st.tuples(st.just("undo"), _ids),
    st.tuples(st.just("forget"), st.integers(0, 100)),
    st.tuples(st.just("crashed forget"), st.integers(0, 100), st.integers(1, 6)),
    st.tuples(st.just("publish")), st.tuples(st.just("catch up")), st.tuples(st.just("save")),
    st.tuples(st.just("restore"), st.integers(0, 3)), st.tuples(st.just("rebuild")), st.tuples(st.just("wipe")),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_steps, max_size=25))
def test_any_interleaving_gives_the_sum_of_what_is_left(steps: list[tuple]) -> None:
    world = World()
    saved = [snapshot(world.store)]
    for step in steps:
        _do(world, saved, *step)
    world.check()
    again = LocalStore("again")
    world.store = again                                 # another memory, from nothing
    recovery.rebuild(world.storage, again)
    assert content(again) == world.expected()


def _do(world: World, saved: list[dict], what: str, *given: int | str) -> None:
    if what == "read":
        world.read(*given)
    elif what == "commit":
        world.commit(*given)
    elif what == "correct":
        world.correct(str(given[0]))
    elif what == "undo":
        world.undo(str(given[0]))
    elif "forget" in what and world.documents:
        places = sorted(world.documents)
        which = places[int(given[0]) % len(places)]
        if what == "forget":
            world.forget(which)
        else:
            _crashed_forget(world, which, int(given[1]))
    elif what == "publish":
        world.publish()
    elif what == "catch up":
        world.catch_up()
    elif what == "save":
        saved.append(snapshot(world.store))
    elif what == "restore":
        restore(world.store, saved[int(given[0]) % len(saved)])
    elif what == "rebuild":
        recovery.rebuild(world.storage, world.store)
    elif what == "wipe":
        world.store.clear()


def _crashed_forget(world: World, which: Place, n: int) -> None:
    try:
        with hooked(KillAt(n)):
            world.forget(which)
    except Killed:
        if Tombstones.load(world.storage).covers(which):
            world.documents.pop(which)
