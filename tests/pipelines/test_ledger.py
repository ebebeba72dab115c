"""Corrections and imports: in force when the call returns, each once, whoever else writes, whatever fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from kie_ops.domain import Domain
from kie_ops.errors import InputError, LogError, ServiceError
from kie_ops.memory import Contribution, Increment, field
from memory_store import dump
from memory_store.local import LocalStore
from pipelines import recovery
from pipelines.commit_log import Log
from pipelines.corrections import Correction, new_id, validate
from pipelines.ledger import Ledger
from pipelines.operations import Op, Operation, Operations, Status
from tests.pipelines.chains import KillAt, Killed, hooked
from tests.pipelines.ledger_world import World, content, sum_of, taught


@pytest.fixture
def world() -> World:
    return World()


def many(count: int, name: str = "v") -> list[Contribution]:
    return [Contribution(name, tuple(
        Increment(f"term {n:06d}", field("vocabulary", "bc5cdr", "entity", "Chemical"), 1) for n in range(count)
    ))]


# -- corrections ----------------------------------------------------------------------------------------------------


def test_a_correction_is_in_force_and_its_undo_gives_the_same_bytes(world: World) -> None:
    world.read(0, 3)
    before = content(world.store)
    assert world.ledger.correct("c1", taught("c1")).status is Status.ADDED
    assert world.store.recall(["aspirin"]).cells["aspirin"].counts["reviewer|bc5cdr|entity|Chemical"] == 1
    assert world.ledger.undo("c1").status is Status.UNDONE
    assert content(world.store) == before
    assert recovery.verify(world.storage, world.store) == []


def test_twice_is_once(world: World) -> None:
    assert world.ledger.correct("c1", taught("c1")).status is Status.ADDED
    assert world.ledger.correct("c1", taught("c1")).status is Status.DUPLICATE
    assert Ledger(world.storage, world.store).correct("c1", taught("c1")).status is Status.DUPLICATE
    assert content(world.store) == sum_of([taught("c1")])
    assert world.ledger.corrections.log.end() == 1
    assert world.ledger.undo("c1").status is Status.UNDONE
    assert world.ledger.undo("c1").status is Status.DUPLICATE
    assert content(world.store) == sum_of([])


def test_an_early_undo_stays(world: World) -> None:
    assert world.ledger.undo("c1").status is Status.EARLY
    assert world.ledger.correct("c1", taught("c1")).status is Status.WITHDRAWN
    assert content(world.store) == sum_of([])
    assert world.ledger.corrections.withdrawn() == {"c1"}
    assert world.ledger.corrections.active() == {}


def test_an_id_that_stands_for_something_else_is_refused(world: World) -> None:
    world.ledger.correct("c1", taught("c1"))
    with pytest.raises(InputError, match="another correction"):
        world.ledger.correct("c1", taught("c1", "ibuprofen"))
    assert content(world.store) == sum_of([taught("c1")])


def test_what_no_memory_can_hold_is_refused_before_it_is_committed(world: World) -> None:
    with pytest.raises(InputError):
        world.ledger.correct("c1", Contribution("c1", (Increment("k", "reviewer|s|entity|L", 2**60),)))
    assert world.ledger.corrections.log.end() == 0


def test_memory_log_names_place_and_id(world: World) -> None:
    world.ledger.correct("c0", taught("c0"))
    world.ledger.correct("c1", taught("c1"), {"doc_id": "d", "reviewer": "r"})
    transaction = Log(world.storage, "corrections", 0).read(1)
    assert {(r["stream"], r["offset"], r["origin"]) for r in transaction.tables["memory_log"].to_pylist()} == {
        ("corrections", 1, "c1")
    }
    (_, entry) = world.ledger.corrections.entries()
    assert (entry.op, entry.id, entry.position, entry.meta) == (Op.ADD, "c1", 1, {"doc_id": "d", "reviewer": "r"})


def test_a_lost_race_is_resolved_anew(world: World) -> None:
    """Somebody commits the same correction, and one more, between this writer's look and its commit."""
    mine, theirs = Operations(world.storage, "corrections"), Operations(world.storage, "corrections")
    commit = mine.log.commit
    said = []

    def late(transaction: object) -> bool:
        if not said:
            said.append(theirs.append([_add("c1"), _add("c2")]))
        return commit(transaction)  # type: ignore[arg-type]

    mine.log.commit = late  # type: ignore[method-assign, assignment]
    outcomes = mine.append([_add("c1"), _add("c3")])
    assert [o.status for o in outcomes] == [Status.DUPLICATE, Status.ADDED]
    world.catch_up()
    assert content(world.store) == sum_of([taught("c1"), taught("c2"), taught("c3")])


def _add(id: str) -> Operation:
    return Operation(Op.ADD, id, taught(id).increments)


def test_many_writers_at_once(world: World) -> None:
    """Four writers say the same ten corrections in different orders."""
    ids = [f"c{n}" for n in range(10)]
    failures: list[BaseException] = []

    def write(turn: int) -> None:
        try:
            chain = Operations(world.storage, "corrections")
            for n in range(len(ids)):
                chain.append([_add(ids[(n * 3 + turn) % len(ids)])])
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=write, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert Log(world.storage, "corrections", 0).end() == len(ids)
    world.catch_up()
    assert content(world.store) == sum_of(map(taught, ids))


def test_killed_between_commit_and_apply(world: World) -> None:
    world.catch_up()
    with pytest.raises(Killed), hooked(KillAt(1)):
        world.ledger.correct("c1", taught("c1"))
    assert content(world.store) == sum_of([])
    other = World(world.storage, world.store)
    assert other.ledger.correct("c1", taught("c1")).status is Status.DUPLICATE
    assert content(other.store) == sum_of([taught("c1")])


def test_memory_away_after_the_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as m:
        m.setattr(LocalStore, "positions", _away)
        with pytest.raises(ServiceError):
            world.ledger.correct("c1", taught("c1"))
    assert content(world.store) == sum_of([])
    assert world.ledger.correct("c1", taught("c1")).status is Status.DUPLICATE
    assert content(world.store) == sum_of([taught("c1")])


def _away(*_: object) -> dict[str, int]:
    raise ServiceError("memory does not answer")


def test_the_segments_of_the_log_hold_for_these_chains_too(world: World) -> None:
    """Segments of 4: five operations at once are two transactions."""
    outcomes = world.ledger.apply([_add(f"c{n}") for n in range(5)])
    assert [o.position for o in outcomes] == [0, 1, 2, 3, 4]
    assert Log(world.storage, "corrections", 0).starts() == [0, 4]


def test_trimmed_operations_are_a_clear_error(world: World) -> None:
    world.ledger.correct("c1", taught("c1"))
    Log(world.storage, "corrections", 0).trim(1)
    with pytest.raises(LogError, match="trimmed"):
        Ledger(world.storage, world.store).correct("c2", taught("c2"))


_step = st.tuples(st.sampled_from([Op.ADD, Op.WITHDRAW]), st.sampled_from(["a", "b", "c"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(_step, st.booleans()), max_size=12), st.booleans())
def test_any_order_any_duplicates_any_cut(steps: list, at_once: bool) -> None:
    """State = ids added minus ids withdrawn, whatever the order; two writers in turn, memories that come and go."""
    world = World()
    writers = [Ledger(world.storage, world.store), Ledger(world.storage, LocalStore("other"))]
    operations = [Operation(op, id, taught(id).increments if op is Op.ADD else ()) for (op, id), _ in steps]
    if at_once:
        writers[0].apply(operations)
    else:
        for operation, (_, which) in zip(operations, steps, strict=True):
            writers[which].apply([operation])
    said = {(op, id) for (op, id), _ in steps}
    active = {id for op, id in said if op is Op.ADD} - {id for op, id in said if op is Op.WITHDRAW}
    for ledger in writers:
        recovery.catch_up(world.storage, ledger.store)
        assert content(ledger.store) == sum_of(map(taught, sorted(active)))  # type: ignore[arg-type]
        assert set(ledger.corrections.active()) == active


# -- imports --------------------------------------------------------------------------------------------------------


def test_an_import_in_transactions_of_6000_and_once(world: World) -> None:
    seen: list[int] = []
    done = world.ledger.import_("terms", many(13_000), progress=seen.append)
    assert (done.status, done.increments, done.chunks) == (Status.ADDED, 13_000, 3)
    assert seen == [6_000, 12_000, 13_000]
    sizes = [len(t.tables["memory_log"]) for t in Log(world.storage, "imports", 0).transactions()]
    assert sizes == [6_000, 6_000, 1_000]
    assert content(world.store) == sum_of(many(13_000))
    assert world.ledger.import_("terms", many(13_000)).status is Status.DUPLICATE
    assert content(world.store) == sum_of(many(13_000))


def test_an_import_goes_on_after_a_crash(world: World) -> None:
    def stop(committed: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        world.ledger.import_("terms", many(13_000), progress=stop)
    assert Log(world.storage, "imports", 0).end() == 1
    again = Ledger(world.storage, world.store).import_("terms", many(13_000))
    assert (again.status, again.increments) == (Status.ADDED, 7_000)
    assert content(world.store) == sum_of(many(13_000))


def test_another_content_under_the_same_name_is_refused(world: World) -> None:
    world.ledger.import_("terms", many(3))
    with pytest.raises(InputError, match="other content"):
        world.ledger.import_("terms", many(4))
    assert world.ledger.undo_import("terms").increments == 3
    assert content(world.store) == sum_of([])
    assert world.ledger.import_("terms", many(3)).status is Status.WITHDRAWN
    assert world.ledger.import_("terms", many(4)).status is Status.ADDED
    assert content(world.store) == sum_of(many(4))
    with pytest.raises(InputError, match="no such import"):
        world.ledger.undo_import("nothing")


def shipped(folder: Path, count: int) -> Domain:
    folder.mkdir(exist_ok=True)
    dump.dump_increments(many(count)[0].increments, folder / "memory.jsonl.zst")
    return Domain(name="small", schemes={}, folder=folder)


def test_a_log_is_primed_once_whoever_asks(world: World, tmp_path: Path) -> None:
    domain = shipped(tmp_path / "d", 7_000)
    ledgers = [Ledger(world.storage, LocalStore(f"m{n}")) for n in range(3)]
    failures: list[BaseException] = []

    def prime(ledger: Ledger) -> None:
        try:
            ledger.prime(domain)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=prime, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert Log(world.storage, "imports", 0).end() == 2
    for ledger in ledgers:
        recovery.catch_up(world.storage, ledger.store)
        assert content(ledger.store) == sum_of(many(7_000))  # type: ignore[arg-type]


def test_priming_ends_what_a_crash_left_and_keeps_an_older_version(world: World, tmp_path: Path) -> None:
    def stop(committed: int) -> None:
        raise Killed

    domain = shipped(tmp_path / "d", 7_000)
    with pytest.raises(Killed):
        world.ledger.prime(domain, stop)
    assert Ledger(world.storage, world.store).prime(domain).status is Status.ADDED
    assert world.ledger.prime(domain).status is Status.DUPLICATE
    assert world.ledger.prime(shipped(tmp_path / "d", 5)).status is Status.DUPLICATE
    assert content(world.store) == sum_of(many(7_000))


def test_a_domain_without_memory_primes_nothing(world: World, tmp_path: Path) -> None:
    assert world.ledger.prime(Domain(name="bare", schemes={}, folder=tmp_path)).chunks == 0
    assert Log(world.storage, "imports", 0).end() == 0


# -- what a correction may say --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [
    {"id": "1", "text": "Zorvex", "label": "Chemical"}, {"id": "1", "surface": "Zorvex", "reject": True},
    {"id": "1", "op": "withdraw"}, {"id": "1", "text": "x", "label": "L", "start": 0, "end": 1, "doc_id": "d"},
])
def test_valid_corrections(data: dict) -> None:
    assert isinstance(validate(data), Correction)


@pytest.mark.parametrize(("data", "said"), [
    ([], "JSON object"), ({}, "id"), ({"id": ""}, "id"), ({"id": 3, "text": "x", "label": "L"}, "id"),
    ({"id": "1"}, "no text"), ({"id": "1", "text": "x"}, "neither a label nor reject"),
    ({"id": "1", "text": "x", "label": "L", "lable": "M"}, "lable"), ({"id": "1", "op": "delete"}, "op"),
    ({"id": "1", "text": "x", "label": "L", "start": 3}, "not both"),
    ({"id": "1", "text": "x", "label": "L", "start": 3, "end": 3}, "not behind"),
    ({"id": "1", "text": "\ud800", "label": "L"}, "text"), ({"id": "1", "text": "y" * 1_001, "label": "L"}, "text"),
    ({"id": "1", "text": "  ", "label": "L"}, "empty"),
])
def test_invalid_corrections_name_the_field(data: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        validate(data)


def test_new_ids_differ() -> None:
    assert new_id() != new_id()


def test_the_tables_of_a_correction_are_rows_with_places(world: World) -> None:
    world.ledger.correct("c1", taught("c1"))
    table = Log(world.storage, "corrections", 0).read(0).tables["operations"]
    assert isinstance(table, pa.Table)
    assert table.select(["stream", "partition", "offset", "op", "id"]).to_pylist() == [
        {"stream": "corrections", "partition": 0, "offset": 0, "op": "add", "id": "c1"}
    ]
