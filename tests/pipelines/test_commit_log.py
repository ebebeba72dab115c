"""Step 4 of the protocol: creating a file exclusively is the commit, whoever tries, whenever they wake up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from kie_ops.errors import ConfigError, LogError
from pipelines import transaction as transactions
from pipelines.commit_log import (
    Log,
    Marks,
    Transaction,
    chains,
    safe_name,
    segment_size,
    settle_segment_size,
)
from pipelines.storage import Storage
from tests.pipelines.chains import STREAM, KillAt, Killed, fill, hooked, open_store, transaction


@pytest.fixture(params=["local", "memory", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    return open_store(request.param, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Callable[[], Storage]:
    return open_store("local", tmp_path)


def log_of(opened: Callable[[], Storage], stream: str = STREAM, partition: int = 0) -> Log:
    return Log(opened(), stream, partition)


def test_a_transaction_is_read_as_it_was_committed(opened: Callable[[], Storage]) -> None:
    tx = transaction(100, 110)
    assert log_of(opened).commit(tx)
    got = log_of(opened).read(100)
    assert replace(got, tables={}) == replace(tx, tables={})
    assert list(got.tables) == list(tx.tables)
    assert all(got.tables[name].equals(tx.tables[name], check_metadata=True) for name in tx.tables)


def test_the_chain_is_followed_and_its_end_is_found(opened: Callable[[], Storage]) -> None:
    log = log_of(opened)
    assert (log.marks(), log.floor(), log.end(), log.starts()) == (None, 0, 0, [])
    assert list(log.transactions()) == []
    fill(log, [7, 8, 20, 50])
    other = log_of(opened)
    assert other.starts() == [7, 8, 20]
    assert other.end() == other.tail == 50
    assert [(t.start, t.end) for t in other.transactions()] == [(7, 8), (8, 20), (20, 50)]
    assert [t.start for t in other.transactions(8, 20)] == [8]
    assert other.begin() == other.floor() == 7


def test_4_only_the_end_of_the_log_can_be_committed_at(opened: Callable[[], Storage]) -> None:
    log = log_of(opened)
    fill(log, [0, 10, 20])
    for start, end in ((0, 10), (10, 15), (5, 30), (30, 40)):   # taken, taken, inside another, beyond a gap
        assert not log_of(opened).commit(transaction(start, end))
    assert log_of(opened).starts() == [0, 10]
    assert log_of(opened).commit(transaction(20, 30))


def test_4_of_many_workers_one_commits(opened: Callable[[], Storage]) -> None:
    logs = [log_of(opened) for _ in range(6)]
    gate, won = threading.Barrier(len(logs)), list[int]()

    def commit(i: int) -> None:
        tx = transaction(0, i + 1)
        gate.wait()
        if logs[i].commit(tx):
            won.append(i + 1)

    threads = [threading.Thread(target=commit, args=(i,)) for i in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [log_of(opened).end()] == won


def test_4_a_stale_worker_loses_and_then_knows_it(opened: Callable[[], Storage]) -> None:
    fast, slow = log_of(opened), log_of(opened)
    fill(fast, [0, 10])
    slow.end()
    fill(fast, [10, 20])
    assert slow.tail == 10
    assert not slow.commit(transaction(10, 15))
    assert slow.tail is None
    assert slow.end() == 20


def test_4_two_workers_that_would_begin_a_chain_elsewhere(opened: Callable[[], Storage]) -> None:
    """The first commit settles where a chain begins: retention may have moved on before the second looks."""
    first, second = log_of(opened), log_of(opened)
    assert first.open_at(5) == second.open_at(900) == 5
    assert not second.commit(transaction(900, 910))
    assert first.commit(transaction(5, 6))
    assert second.end() == 6


def test_4_crash_between_opening_and_the_first_commit(local: Callable[[], Storage]) -> None:
    log_of(local).open_at(300)
    log = log_of(local)
    assert log.end() == 300
    assert log.commit(transaction(300, 310))


def test_4_created_below_the_floor_is_removed(opened: Callable[[], Storage]) -> None:
    """A worker paused for long finds the name of a trimmed transaction free."""
    worker, zombie = log_of(opened), log_of(opened)
    fill(worker, [0, 10])
    zombie.end()
    fill(worker, [10, 20, 30])
    worker.trim(20)
    assert zombie.tail == 10
    assert not zombie.commit(transaction(10, 30))
    assert worker.storage.names(worker.folder) == [f"{20:020d}", "FLOOR"]
    assert log_of(opened).end() == 30


def test_4_killed_before_removing_it(opened: Callable[[], Storage]) -> None:
    """A file below the floor is not part of the log, and the next trim takes it away."""
    worker = log_of(opened)
    fill(worker, [0, 10, 20, 30])
    worker.trim(20)
    worker.storage.create(worker.path(10), transactions.encode(transaction(10, 30)))
    fresh = log_of(opened)
    assert fresh.starts() == [20]
    assert fresh.end() == 30
    assert [t.start for t in fresh.transactions()] == [20]
    fresh.trim(30)
    assert fresh.storage.names(fresh.folder) == ["FLOOR"]
    assert log_of(opened).end() == 30


def test_7_the_floor_never_falls(opened: Callable[[], Storage]) -> None:
    first, late = log_of(opened), log_of(opened)
    fill(first, [0, 10, 20])
    first.trim(20)
    late.trim(10)
    late.advance(10)
    assert log_of(opened).marks() == Marks(0, 20, 20)


def test_7_two_trims_at_once(opened: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    """One reads the floor, is paused, and writes it after another has moved it on."""
    paused, fast = log_of(opened), log_of(opened)
    fill(fast, [0, 10, 20])
    replace_if, once = paused.storage.replace_if, iter([True])

    def pause(path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        if next(once, False):
            fast.trim(20)
        return replace_if(path, data, version, durable=durable)

    monkeypatch.setattr(paused.storage, "replace_if", pause)
    paused.trim(10)
    assert log_of(opened).marks() == Marks(0, 20, 20)


def test_7_killed_anywhere_in_a_trim(local: Callable[[], Storage], tmp_path: Path) -> None:
    for n in itertools.count(1):
        store = open_store("local", tmp_path / str(n))
        log = Log(store(), STREAM, 0)
        fill(log, [0, 5, 10, 15, 20, 25])
        killer = KillAt(n)
        with hooked(killer):
            try:
                log.trim(20)
            except Killed:
                pass
            else:
                assert set(killer.passed) == {"temp-written", "floor-moved", "trimmed"}
                break
        after = Log(store(), STREAM, 0)
        assert after.end() == 25
        assert [t.start for t in after.transactions()] == after.starts()
        after.trim(20)
        assert after.starts() == [20]


def test_the_floor_is_read_after_listing(local: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    """A trim between the two must not show a chain with its first part missing."""
    log, other = log_of(local), log_of(local)
    fill(log, [0, 10, 20, 30])
    names = log.storage.names

    def then_trimmed(folder: str) -> list[str]:
        found = names(folder)
        other.trim(20)
        return found

    monkeypatch.setattr(log.storage, "names", then_trimmed)
    assert log.starts() == [20]


def test_following_ends_quietly_where_a_trim_comes_between(local: Callable[[], Storage]) -> None:
    log, other = log_of(local), log_of(local)
    fill(other, [0, 10, 20, 30])
    following = log.transactions()
    assert next(following).start == 0
    other.trim(30)
    assert list(following) == []


def test_a_gap_is_an_error(local: Callable[[], Storage]) -> None:
    log = log_of(local)
    fill(log, [0, 10, 20, 30])
    log.storage.delete(log.path(10))
    with pytest.raises(LogError, match="a gap"):
        list(log_of(local).transactions())


def test_a_lost_floor_is_an_error_not_a_new_log(local: Callable[[], Storage]) -> None:
    log = log_of(local)
    fill(log, [0, 10])
    log.storage.delete(f"{log.folder}/FLOOR")
    for act in (lambda: log_of(local).starts(), lambda: log_of(local).commit(transaction(10, 20))):
        with pytest.raises(LogError, match="without a floor"):
            act()
    log.storage.replace(f"{log.folder}/FLOOR", b"torn")
    with pytest.raises(LogError, match="unreadable floor"):
        log_of(local).end()


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_any_torn_or_changed_file_is_named(at: float, flip: int, cut: bool) -> None:
    data = transactions.encode(transaction(0, 2))
    place = int(at * len(data))
    broken = data[:place] if cut else data[:place] + bytes([data[place] ^ flip]) + data[place + 1:]
    with pytest.raises(LogError, match="at here"):
        transactions.decode(broken, "here")


def test_a_file_in_anothers_place_is_an_error(local: Callable[[], Storage]) -> None:
    log = log_of(local)
    fill(log, [0, 10, 20])
    log.storage.replace(log.path(10), log.storage.read(log.path(0)))
    with pytest.raises(LogError, match="another's transaction"):
        log_of(local).read(10)


def test_encoding_is_a_function_of_the_transaction() -> None:
    tx = transaction(0, 20)
    cut = {name: pa.concat_tables([t.slice(0, 1), t.slice(1)]) for name, t in tx.tables.items()}
    again = replace(tx, view=dict(reversed(tx.view.items())), tables=cut)
    assert transactions.encode(again) == transactions.encode(tx)


def test_what_no_transaction_may_be(local: Callable[[], Storage]) -> None:
    log = log_of(local)
    settle_segment_size(log.storage, 100)
    with pytest.raises(LogError, match="crosses a segment's end"):
        log.commit(transaction(95, 101))
    with pytest.raises(LogError, match="without a range"):
        log.commit(transaction(5, 5))
    with pytest.raises(LogError, match="of other/0"):
        log.commit(transaction(0, 5, stream="other"))
    assert log.commit(transaction(95, 100))


def test_the_segment_size_is_for_life(opened: Callable[[], Storage]) -> None:
    assert segment_size(opened()) is None
    assert settle_segment_size(opened(), 100) == settle_segment_size(opened(), 100) == segment_size(opened()) == 100
    with pytest.raises(ConfigError, match=r"tables\.segment: 100"):
        settle_segment_size(opened(), 50)


def test_rewriting_changes_rows_alone_and_survives_a_race(
    opened: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, other = log_of(opened), log_of(opened)
    fill(log, [0, 10])

    def without(name: str) -> Callable[[Transaction], Transaction]:
        return lambda t: replace(t, tables={k: v.slice(0, 0) if k == name else v for k, v in t.tables.items()})

    replace_if, once = log.storage.replace_if, iter([True])

    def pause(path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        if next(once, False):
            other.rewrite(0, without("entities"))
        return replace_if(path, data, version, durable=durable)

    monkeypatch.setattr(log.storage, "replace_if", pause)
    log.rewrite(0, without("events"))
    left = {name: table.num_rows for name, table in log_of(opened).read(0).tables.items()}
    assert (left["entities"], left["events"]) == (0, 0)
    assert left["documents"]
    with pytest.raises(ValueError, match="nothing else"):
        log.rewrite(0, lambda t: replace(t, end=11))
    log.trim(10)
    with pytest.raises(FileNotFoundError):
        log.rewrite(0, without("events"))
    assert log.storage.names(log.folder) == ["FLOOR"]


def test_chains_are_found_whatever_their_names(opened: Callable[[], Storage]) -> None:
    storage = opened()
    names = ["plain", "_log", ".x", "a/b", "é%41", "EA3hN_-2Q", "META", "a b.c~"]
    for name in names:
        assert Log(storage, name, 12).commit(transaction(0, 1, stream=name, partition=12))
    Log(storage, "never", 0).end()
    settle_segment_size(storage, 10)
    storage.create("_log/ID", b"x")
    assert chains(storage) == sorted((name, 12) for name in names)


@given(st.text(min_size=1, max_size=20))
def test_names_are_safe_and_reversible(name: str) -> None:
    from urllib.parse import unquote

    safe = safe_name(name)
    assert unquote(safe, errors="surrogatepass") == name
    assert safe.isascii()
    assert "/" not in safe
    assert safe[0] not in "._"


def test_names_too_long_are_refused() -> None:
    for name in ("", "x" * 181, "é" * 40):
        with pytest.raises(ConfigError, match="empty or too long"):
            safe_name(name)


def test_the_cache_is_bounded(local: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import commit_log

    one = transaction(0, 1).size
    cache = commit_log._Cache(3 * one)
    for start in range(10):
        cache.put(replace(transaction(0, 1), start=start))
    cache.get(7)
    cache.put(replace(transaction(0, 1), start=10))
    assert [start for start in range(11) if cache.get(start)] == [7, 9, 10]
    cache.drop(9)
    cache.put(replace(transaction(0, 1), start=11))
    assert [start for start in range(12) if cache.get(start)] == [7, 10, 11]
