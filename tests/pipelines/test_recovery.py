"""Memory from the log: whatever memory has lost, it is the sum of the log again, and never of another log."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kie_ops.errors import LogError, ServiceError
from kie_ops.memory import Increment
from memory_store.local import LocalStore
from memory_store.store import Applied
from pipelines import recovery
from pipelines.commit_log import Log
from tests.pipelines import chains
from tests.pipelines.chains import KillAt, Killed, hooked
from tests.pipelines.ledger_world import SEGMENT, World, content, empty_storage, restore, snapshot, sum_of


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("trimmed", [False, True])
def test_a_wiped_memory(world: World, trimmed: bool) -> None:
    for _ in range(4):
        world.read(0, 3)
        world.read(1, 2)
    world.correct("c1")
    if trimmed:
        world.publish()
        assert world.log(0).floor() > 0
    world.store.clear()
    world.check()


@pytest.mark.parametrize("trimmed", [False, True])
def test_every_older_copy(world: World, trimmed: bool) -> None:
    """Copies also stand within segments, and within transactions once these are trimmed."""
    saved = [snapshot(world.store)]
    for n in range(5):
        world.read(0, 3)
        saved.append(snapshot(world.store))
        world.correct(f"c{n}")
        saved.append(snapshot(world.store))
    if trimmed:
        world.publish()
    for each in saved:
        restore(world.store, each)
        world.check()


def test_a_copy_that_stands_within_a_transaction(world: World) -> None:
    world.commit(0, 4)
    own = recovery.own(world.storage, world.store)
    assert own
    first = chains.contribution(0).increments
    assert world.store.apply(f"{chains.STREAM}/0", 0, 1, first, erasures=0) is Applied.APPLIED
    world.check()


def test_committed_and_not_applied(world: World) -> None:
    world.read(0, 2)
    world.commit(0, 2)
    world.commit(1, 3)
    assert content(world.store) != world.expected()
    world.check()


def test_a_log_that_begins_later(world: World) -> None:
    log = world.log(0)
    log.open_at(500)
    recovery.catch_up(world.storage, world.store)
    assert world.store.positions()[log.chain] == 500
    assert log.commit(chains.transaction(500, 503))
    recovery.catch_up(world.storage, world.store)
    assert content(world.store) == sum_of(chains.contribution(o) for o in range(500, 503) if not chains.is_dead(o))
    world.store.clear()
    recovery.catch_up(world.storage, world.store)
    assert world.store.positions()[log.chain] == 503
    assert recovery.verify(world.storage, world.store) == []


def test_only_the_chains_asked_for(world: World) -> None:
    world.commit(0, 2)
    world.commit(1, 2)
    recovery.catch_up(world.storage, world.store, [f"{chains.STREAM}/1"])
    assert world.store.positions().get(f"{chains.STREAM}/0") is None
    assert world.store.positions()[f"{chains.STREAM}/1"] == 2


def test_segments_with_more_than_a_step_are_cut_between_documents(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import parts

    for _ in range(4):
        world.commit(0, 4)
    world.publish()
    world.commit(0, 3)
    for most in (1, 2, 4, 7, 100):
        monkeypatch.setattr(parts, "MAX_INCREMENTS", most)
        world.store.clear()
        world.check()
    monkeypatch.setattr(parts, "MAX_INCREMENTS", 3)
    pieces = list(parts.parts(world.log(0), 0, 16, recovery._tombstones(world.storage)))
    assert [p.start for p in pieces] == [0, *(p.end for p in pieces[:-1])]
    assert pieces[-1].end == 16
    assert len(pieces) >= 12


@pytest.mark.parametrize("n", range(1, 8))
def test_killed_while_catching_up(world: World, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import parts

    monkeypatch.setattr(parts, "MAX_INCREMENTS", 3)
    for _ in range(3):
        world.commit(0, 4)
    world.publish()
    with pytest.raises(Killed), hooked(KillAt(n)):
        world.catch_up()
    world.check()


def test_several_at_once(world: World) -> None:
    for _ in range(6):
        world.commit(0, 3)
        world.commit(1, 2)
    for n in range(3):
        world.correct(f"c{n}")
    world.publish()
    world.forget(sorted(world.documents)[3])
    world.store.clear()
    failures: list[BaseException] = []

    def run(turn: int) -> None:
        try:
            if turn == 1:
                recovery.rebuild(world.storage, world.store)
            recovery.catch_up(world.storage, world.store)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    world.check()


def test_trimmed_while_it_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher trims between the reader's look at the floor and its reading of the files."""
    world.commit(0, 4)
    world.commit(0, 4)
    world.commit(0, 2)
    look = Log.floor
    trimmed = []

    def floor(log: Log) -> int:
        seen = look(log)
        if not trimmed and log.stream == chains.STREAM:
            trimmed.append(True)
            world.publish()
        return seen

    monkeypatch.setattr(Log, "floor", floor)
    world.check()
    assert trimmed
    assert look(world.log(0)) == 8


# -- whose memory it is ---------------------------------------------------------------------------------------------


def test_a_memory_that_knows_more_than_the_log(world: World) -> None:
    world.read(0, 2)
    world.catch_up()
    restored = empty_storage()                # the log as it was before
    restored.create(recovery.IDENTITY, world.storage.read(recovery.IDENTITY))
    with pytest.raises(LogError, match="but the log ends at 0"):
        recovery.catch_up(restored, world.store)
    recovery.rebuild(restored, world.store)             # the way out that the message names
    assert content(world.store) == sum_of([])


def test_a_memory_of_another_log_is_refused_and_left_alone(world: World) -> None:
    world.read(0, 2)
    world.catch_up()
    before = content(world.store)
    other = World(store=world.store)
    other.commit(1, 2)
    for attempt in (other.catch_up, lambda: recovery.rebuild(other.storage, other.store)):
        with pytest.raises(LogError, match="belongs to another log"):
            attempt()
    assert content(world.store) == before
    recovery.rebuild(other.storage, other.store, force=True)
    assert content(other.store) == other.expected()
    with pytest.raises(LogError, match="belongs to another log"):
        world.catch_up()


def test_two_logs_that_mark_an_empty_memory_at_once_both_stop() -> None:
    """The other marks it between this one's look and its mark."""
    store = LocalStore()
    one, two = World(store=store), World(store=store)
    apply, raced = store.apply, []

    def racing(chain: str, *given: Any, **known: Any) -> Applied:
        if chain.startswith(recovery.MARK) and not raced:
            raced.append(chain)
            two.catch_up()
        return apply(chain, *given, **known)

    store.apply = racing  # type: ignore[method-assign]
    for world in (one, two):
        with pytest.raises(LogError, match="another log"):
            world.catch_up()


# -- verify ---------------------------------------------------------------------------------------------------------


def test_verify_names_every_difference(world: World) -> None:
    world.read(0, 4)
    world.catch_up()
    assert recovery.verify(world.storage, world.store) == []
    positions = world.store.positions()
    wrong = (Increment("aspirin", "self|bc5cdr|entity|CHEMICAL", 1), Increment("new", "self|x|none|", 2))
    world.store.apply("elsewhere/0", 0, 1, wrong, erasures=0)
    found = recovery.verify(world.storage, world.store)
    assert [(d.key, d.field, d.expected, d.found) for d in found] == [
        ("aspirin", "self|bc5cdr|entity|CHEMICAL", 4, 5), ("new", "self|x|none|", None, 2),
    ]
    assert positions.keys() < world.store.positions().keys()


def test_verify_at_an_older_position_and_before_an_erasure(world: World) -> None:
    world.read(0, 4)
    saved = snapshot(world.store)
    world.read(0, 4)
    world.forget(sorted(world.documents)[5])
    restore(world.store, saved)
    assert recovery.verify(world.storage, world.store) == []


def test_verify_of_a_memory_in_motion(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import races

    monkeypatch.setattr(races, "ATTEMPTS", 2)
    steps = iter(range(10**6))
    monkeypatch.setattr(LocalStore, "positions", lambda self: {"s/0": next(steps)})
    with pytest.raises(ServiceError):
        recovery.verify(world.storage, world.store)


def test_a_missing_memory_log_is_a_clear_error(world: World) -> None:
    for _ in range(2):
        world.commit(0, SEGMENT)
    world.publish()
    for path in chains.files(world.storage, "memory_log"):
        world.storage.delete(path)
    with pytest.raises(LogError, match="missing or torn"):
        world.catch_up()
