"""What was erased stays away: from the log, from the tables, and from what others still hold in hand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from kie_ops.errors import LogError
from kie_ops.records import Place
from pipelines import tombstones
from pipelines.commit_log import Log, Transaction
from pipelines.publisher import Publisher, kept_increments
from pipelines.segments import Segment, from_parquet, intact, read_manifest
from pipelines.storage import Storage
from pipelines.tombstones import SCHEMA, TABLE, Tombstones, scrub
from tests.pipelines.chains import SIZE, STREAM, KillAt, Killed, files, fill, hooked, is_dead, open_store, transaction

CUTS = (0, 4, 10, 13, 17)
FEW = (11, 13, 17)
"""One open segment: its files are few enough to come between every two of them."""
TRIMMED, DEAD_TRIMMED, OPEN, DEAD_OPEN = 7, 4, 14, 15
assert is_dead(DEAD_TRIMMED)
assert is_dead(DEAD_OPEN)


@pytest.fixture(params=["local", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    return open_store(request.param, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Callable[[], Storage]:
    return open_store("local", tmp_path)


@pytest.fixture(autouse=True)
def _no_power_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def place(offset: int) -> Place:
    return Place(STREAM, 0, offset)


def bury(storage: Storage, *offsets: int, stream: str = STREAM) -> None:
    """Commits the tombstones of these places in one transaction."""
    log = Log(storage, tombstones.STREAM, tombstones.PARTITION)
    start = log.end()
    rows = [{"stream": stream, "partition": 0, "offset": o, "hash": f"h{o}", "id": f"id-{o}"} for o in offsets]
    table = pa.Table.from_pylist(rows, SCHEMA)
    assert log.commit(Transaction(log.stream, 0, start, start + len(rows), {}, "engram", {TABLE: table}))


def written(storage: Storage, cuts: tuple[int, ...] = CUTS) -> tuple[Publisher, Log]:
    publisher, log = Publisher(storage, SIZE), Log(storage, STREAM, 0)
    fill(log, cuts)
    publisher.publish(log)
    return publisher, log


def holdings(storage: Storage) -> dict[int, set[str]]:
    """Where rows of each place are: paths of tables, and log files."""
    tables = {path: from_parquet(data, path.split("/")[0]) for path, data in files(storage).items()
              if not path.startswith("transactions/")}
    for tx in Log(storage, STREAM, 0).transactions():
        tables |= {f"{tx.start}/{name}": table for name, table in tx.tables.items()}
    found: dict[int, set[str]] = {}
    for path, table in tables.items():
        for offset in table["offset"].to_pylist():
            found.setdefault(offset, set()).add(path)
    return found


def holding(storage: Storage, offset: int) -> set[str]:
    return holdings(storage).get(offset, set())


def test_tombstones_are_read_and_followed(opened: Callable[[], Storage]) -> None:
    storage = opened()
    known = Tombstones.load(storage)
    assert (len(known), known.position) == (0, 0)
    bury(storage, 3, 4)
    bury(storage, 9, stream="other")
    assert not known.covers(place(3))
    assert known.refresh() == known.position == 3
    assert known.covers(place(3))
    assert not known.covers(place(9))
    assert known.covers(Place("other", 0, 9))
    tombstone = known.get(place(4))
    assert tombstone is not None
    assert (tombstone.hash, tombstone.id, tombstone.position) == ("h4", "id-4", 2)
    earlier = known.up_to(2)
    assert (len(earlier), earlier.position, earlier.refresh()) == (2, 2, 2)
    assert {t.place.offset for t in Tombstones.load(opened())} == {3, 4, 9}


def test_rows_of_erased_places_are_taken_out_of_tables(local: Callable[[], Storage]) -> None:
    storage = local()
    tx = transaction(0, 10)
    assert Tombstones.load(storage).hide([tx]) == [tx]
    bury(storage, 3, stream="other")
    bury(storage, 1)
    known = Tombstones.load(storage)
    (hidden,) = known.hide([tx])
    assert hidden.tables["documents"]["offset"].to_pylist() == [0, 2, 3, 5, 6, 7, 8, 9]
    assert 1 not in hidden.tables["memory_log"]["offset"].to_pylist()
    no_places = pa.table({"from": [1]})
    assert known.scrub(no_places) is no_places


@pytest.mark.parametrize("offset", [TRIMMED, DEAD_TRIMMED, OPEN, DEAD_OPEN])
def test_a_scrubbed_document_is_nowhere(opened: Callable[[], Storage], offset: int) -> None:
    storage = opened()
    publisher, log = written(storage)
    before = holdings(storage)
    assert before.pop(offset)
    bury(storage, offset)
    for _ in range(2):                                # doing it twice is harmless
        scrub(opened(), place(offset))
        assert holdings(storage) == before
    manifest = read_manifest(storage, Segment(STREAM, 0, offset // SIZE, SIZE))
    assert manifest is not None
    assert intact(storage, manifest)
    publisher.publish(log)                            # its log still has the transaction at hand
    assert holding(storage, offset) == set()


def test_tables_are_those_of_a_log_that_never_saw_it(local: Callable[[], Storage], tmp_path: Path) -> None:
    """Byte for byte, whether the segment was trimmed when it was erased or is written afterwards."""
    storage = local()
    publisher, log = written(storage)
    bury(storage, TRIMMED, OPEN)
    for offset in (TRIMMED, OPEN):
        scrub(storage, place(offset))
    fill(log, (17, 20, 21))
    publisher.publish(log)
    never = open_store("local", tmp_path / "never")()
    other, chain = Publisher(never, SIZE), Log(never, STREAM, 0)
    fill(chain, (*CUTS, 20, 21), set(range(21)) - {TRIMMED, OPEN})
    other.publish(chain)
    assert files(storage) == files(never)


def test_the_last_row_of_a_domain_leaves_an_empty_table(local: Callable[[], Storage]) -> None:
    storage = local()
    publisher, log = written(storage, (0, 4))
    path = Segment(STREAM, 0, 0, SIZE).path("documents", "other/é")
    assert from_parquet(storage.read(path), "documents")["offset"].to_pylist() == [3]
    bury(storage, 3)
    scrub(storage, place(3))
    assert from_parquet(storage.read(path), "documents").num_rows == 0
    fill(log, (4, 10, 12))
    assert not publisher.publish(log).contended
    assert from_parquet(storage.read(path), "documents").num_rows == 0
    assert log.starts() == [10]


def test_contributions_are_gone_too(local: Callable[[], Storage]) -> None:
    storage = local()
    _, log = written(storage)
    bury(storage, TRIMMED)
    scrub(storage, place(TRIMMED))
    ((_, _, kept),) = kept_increments(log, 0, 10)
    assert TRIMMED not in kept["offset"].to_pylist()
    assert TRIMMED + 1 in kept["offset"].to_pylist()


def test_a_file_left_below_the_floor_is_removed(local: Callable[[], Storage]) -> None:
    storage = local()
    tx_path = Log(storage, STREAM, 0).path(4)
    log = Log(storage, STREAM, 0)
    fill(log, CUTS)
    left = storage.read(tx_path)
    Publisher(storage, SIZE).publish(log)
    storage.create(tx_path, left)
    bury(storage, TRIMMED)
    scrub(storage, place(TRIMMED))
    assert storage.names(log.folder)[0] == f"{10:020d}"


def test_nothing_to_scrub(local: Callable[[], Storage]) -> None:
    storage = local()
    scrub(storage, place(5))
    publisher, log = written(storage)
    kept = files(storage)
    for offset in (17, 100, 10_000):
        scrub(storage, place(offset))
    assert files(storage) == kept
    assert publisher.publish(log).position == 17


def test_a_lost_manifest_is_an_error(local: Callable[[], Storage]) -> None:
    storage = local()
    written(storage)
    storage.delete(Segment(STREAM, 0, 0, SIZE).manifest)
    bury(storage, TRIMMED)
    with pytest.raises(LogError, match="without its manifest"):
        scrub(storage, place(TRIMMED))


@pytest.mark.parametrize("offset", [TRIMMED, OPEN])
def test_killed_at_every_step_of_a_scrub(tmp_path: Path, offset: int) -> None:
    for n in itertools.count(1):
        store = open_store("local", tmp_path / str(n))
        publisher, log = written(store())
        bury(store(), offset)
        killer = KillAt(n)
        with hooked(killer):
            try:
                scrub(store(), place(offset))
            except Killed:
                pass
            else:
                assert n > 3
                break
        publisher.publish(log)
        scrub(store(), place(offset))
        assert holding(store(), offset) == set()


@pytest.mark.parametrize("cuts", [(17, 18), (17, 20)])
def test_a_publisher_paused_before_the_erasure_does_not_bring_it_back(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    """On an object store it is erased and scrubbed at every step of a publisher that knows nothing of it, in turn."""
    for n in itertools.count(1):
        store = open_store("memory", tmp_path)
        publisher, log = written(store(), FEW)
        fill(log, cuts)
        passed = itertools.count(1)

        def erase(_: str, store: Callable[[], Storage] = store, n: int = n,
                  passed: itertools.count[int] = passed) -> None:
            if next(passed) == n:
                with hooked(lambda _: None):
                    bury(store(), OPEN)
                    scrub(store(), place(OPEN))
                    assert holding(store(), OPEN) == set()

        with hooked(erase):
            publisher.publish(log)
        if next(passed) <= n:
            break
        assert holding(store(), OPEN) == set()
        assert any(not publisher.publish(log).contended for _ in range(3))
        assert holding(store(), OPEN) == set()
        assert holding(store(), OPEN - 1)
    assert n > 5


def test_two_erasures_of_one_transaction_at_once(tmp_path: Path) -> None:
    """On an object store one is paused at every step, while the other erases its neighbour."""
    for n in itertools.count(1):
        store = open_store("memory", tmp_path)
        written(store(), FEW)
        bury(store(), OPEN, OPEN - 1)
        passed = itertools.count(1)

        def second(_: str, store: Callable[[], Storage] = store, n: int = n,
                   passed: itertools.count[int] = passed) -> None:
            if next(passed) == n:
                with hooked(lambda _: None):
                    scrub(store(), place(OPEN - 1))

        with hooked(second):
            scrub(store(), place(OPEN))
        if next(passed) <= n:
            break
        assert holding(store(), OPEN) == holding(store(), OPEN - 1) == set()
    assert n > 5
