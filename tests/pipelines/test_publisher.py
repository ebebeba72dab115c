"""Steps 6 and 7: tables from the log; killed at every step, published by several, woken up late."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from kie_ops.errors import ConfigError, LogError
from pipelines.commit_log import Log, Marks
from pipelines.publisher import Publisher, kept_increments
from pipelines.rows import increments
from pipelines.segments import Segment, from_parquet, intact, read_manifest
from pipelines.storage import Storage
from tests.pipelines.chains import (
    CUTS as SHORT,
    SIZE,
    STREAM,
    TABLES,
    KillAt,
    Killed,
    contribution,
    files,
    fill,
    hooked,
    is_dead,
    open_store,
    transaction,
    work,
)

END = 34
CUTS = [0, 4, 10, 13, 20, 25, 30, 34]
VIEWS = tuple(name for name in TABLES if name != "transactions")
"""All but `transactions`, which says how the work was cut."""


@pytest.fixture(params=["local", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    return open_store(request.param, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Callable[[], Storage]:
    return open_store("local", tmp_path)


@pytest.fixture(autouse=True)
def _no_power_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process wrote stays; only a power loss needs the syncs, which test_storage checks."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def publish(storage: Storage, trim: bool = True) -> tuple[Publisher, Log]:
    publisher, log = Publisher(storage, SIZE, trim), Log(storage, STREAM, 0)
    assert not publisher.publish(log).contended
    return publisher, log


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of CUTS, published once at the end."""
    storage = open_store("local", tmp_path_factory.mktemp("undisturbed"))()
    publisher, log = Publisher(storage, SIZE), Log(storage, STREAM, 0)
    fill(log, CUTS)
    publisher.publish(log)
    return files(storage)


@pytest.fixture(scope="module")
def undisturbed_short(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    storage = open_store("local", tmp_path_factory.mktemp("short"))()
    work(storage)
    return files(storage)


def offsets(found: dict[str, bytes], table: str) -> list[int]:
    return sorted(o for path, data in found.items() if path.startswith(f"{table}/")
                  for o in from_parquet(data, table)["offset"].to_pylist())


def alive(*ranges: range) -> list[int]:
    return [o for r in ranges for o in r if not is_dead(o)]


def test_6_every_row_is_published_and_closed_segments_are_trimmed(opened: Callable[[], Storage]) -> None:
    storage = opened()
    publisher, log = publish(storage)
    fill(log, CUTS)
    done = publisher.publish(log)
    assert (done.position, done.documents, done.closed) == (END, len(alive(range(END))), 3)
    found = files(storage)
    for table, rows in (("documents", 1), ("entities", 2), ("relations", 1), ("events", 1)):
        assert offsets(found, table) == sorted(alive(range(END)) * rows)
    assert offsets(found, "dead_letters") == [o for o in range(END) if is_dead(o)]
    assert offsets(found, "memory_log") == sorted(alive(range(30)) * 3)      # of closed segments
    assert log.marks() == Marks(0, 30, 30)
    assert log.starts() == [30]


def test_6_rows_stand_in_order_of_offset_and_span(undisturbed: dict[str, bytes]) -> None:
    for path, data in undisturbed.items():
        if path.startswith("entities/"):
            table = from_parquet(data, "entities")
            order = list(zip(table["offset"].to_pylist(), table["start"].to_pylist(), strict=True))
            assert order == sorted(order)


def test_6_idle_ticks_write_nothing(opened: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened()
    publisher, log = publish(storage)
    fill(log, CUTS)
    publisher.publish(log)

    def refuse(*_: object, **__: object) -> bool:
        raise AssertionError("written to")

    monkeypatch.setattr(storage, "replace_if", refuse)
    assert publisher.publish(log).position == END
    again = Publisher(storage, SIZE).publish(Log(storage, STREAM, 0))   # another process: looks, finds it all there
    assert (again.position, again.documents, again.contended) == (END, 0, False)


def test_6_commits_of_others_are_published_too(opened: Callable[[], Storage], undisturbed: dict[str, bytes]) -> None:
    mine, theirs = opened(), opened()
    publisher, log = publish(mine)
    other_publisher, other = publish(theirs)
    for cuts in ([0, 4, 10], [10, 13, 20, 25], [25, 30, 34]):
        fill(other, cuts)
        assert publisher.publish(log).position == cuts[-1]
        assert other_publisher.publish(other).position == cuts[-1]
    assert files(mine) == undisturbed


def test_6_a_publisher_that_slept_through_a_trim_goes_on(opened: Callable[[], Storage]) -> None:
    mine, theirs = opened(), opened()
    publisher, log = publish(mine)
    other_publisher, other = publish(theirs)
    fill(log, [0, 4])
    publisher.publish(log)
    fill(other, [4, 10, 20])
    other_publisher.publish(other)
    fill(other, [20, 25])                        # and its process ends here
    assert publisher.publish(log).position == 25


def test_6_trimming_off_keeps_the_log_and_can_be_switched_on(local: Callable[[], Storage]) -> None:
    storage = local()
    publisher, log = publish(storage, trim=False)
    fill(log, CUTS)
    publisher.publish(log)
    assert log.marks() == Marks(0, 0, 30)
    assert log.starts() == CUTS[:-1]
    kept = files(storage)
    publish(local())
    assert log.marks() == Marks(0, 30, 30)
    assert log.starts() == [30]
    assert files(storage) == kept


def test_7_what_no_table_holds_is_never_trimmed(local: Callable[[], Storage]) -> None:
    """The operations of the ledger stand in the log alone; what they add to memory is in memory_log too."""
    storage = local()
    publisher, log = publish(storage)
    for start, end in ((0, 10), (10, 15)):
        tables = {"operations": pa.table({"id": ["a"]}), "memory_log": transaction(start, end).rows("memory_log")}
        assert log.commit(replace(transaction(start, end), tables=tables))
    for _ in range(2):
        assert publisher.publish(log).position == 15
        assert log.starts() == [0, 10]
        publisher = Publisher(local(), SIZE)
    assert log.marks() == Marks(0, 0, 10)
    assert set(offsets(files(storage), "memory_log")) == set(alive(range(10)))


def test_6_a_chain_with_another_segment_size_is_refused(local: Callable[[], Storage]) -> None:
    publish(local())
    with pytest.raises(ConfigError, match=r"tables\.segment: 10"):
        Publisher(local(), 20)


# -- the same bytes ---------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, END - 1)), ticks=st.sets(st.integers(0, 10)), trim=st.booleans())
def test_6_any_cut_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, undisturbed: dict[str, bytes], cuts: set[int], ticks: set[int], trim: bool
) -> None:
    storage = open_store("local", tmp_path_factory.mktemp("cut"))()
    publisher, log = publish(storage, trim)
    for i, (start, end) in enumerate(itertools.pairwise(sorted({0, 10, 20, 30, END, *cuts}))):
        fill(log, [start, end])
        if i in ticks:
            publisher.publish(log)
    publisher.publish(log)
    assert files(storage, *VIEWS) == {p: d for p, d in undisturbed.items() if not p.startswith("transactions/")}


@pytest.mark.parametrize("kind", ["local", "memory", "s3"])
def test_6_all_stores_hold_the_same_bytes(tmp_path: Path, kind: str, undisturbed: dict[str, bytes]) -> None:
    storage = open_store(kind, tmp_path)()
    publisher, log = publish(storage)
    for start, end in itertools.pairwise(CUTS):
        fill(log, [start, end])
        publisher.publish(log)
    assert files(storage) == undisturbed


def test_6_holes_in_offsets_and_at_a_segments_end(local: Callable[[], Storage], tmp_path: Path) -> None:
    """Offsets 6 to 12 are missing: the segment ends in the hole; segments 2 and 3 hold nothing at all."""
    there = [1, 2, 5, 13, 14, 41]
    storage = local()
    publisher, log = publish(storage)
    for start, end in itertools.pairwise([1, 3, 10, 14, 20, 30, 40, 42]):
        fill(log, [start, end], there)
        publisher.publish(log)
    assert log.marks() == Marks(1, 40, 40)
    found = files(storage)
    assert offsets(found, "documents") == alive(there)
    other = open_store("local", tmp_path / "other")()
    fill(Log(other, STREAM, 0), [1, 10, 20, 30, 40, 42], there)
    publish(other)
    assert files(other, *VIEWS) == files(storage, *VIEWS)
    kept = list(kept_increments(log, 1, 40))
    assert [(start, end) for start, end, _ in kept] == [(1, 10), (10, 20), (20, 30), (30, 40)]


def test_6_a_chain_that_begins_in_the_middle(local: Callable[[], Storage]) -> None:
    storage = local()
    publisher, log = publish(storage)
    fill(log, [12_345, 12_348, 12_350, 12_351])
    assert publisher.publish(log).closed == 1
    assert log.marks() == Marks(12_345, 12_350, 12_350)
    assert offsets(files(storage), "documents") == alive(range(12_345, 12_351))


# -- killed at every step ---------------------------------------------------------------------------------------------


def test_67_killed_at_every_step_in_turn(tmp_path: Path, undisturbed_short: dict[str, bytes]) -> None:
    passed: set[str] = set()
    for n in itertools.count(1):
        store = open_store("local", tmp_path / str(n))
        killer = KillAt(n)
        with hooked(killer):
            try:
                work(store())
            except Killed:
                pass
            else:
                break
        passed |= set(killer.passed)
        work(store())
        assert files(store()) == undisturbed_short, killer.passed
        assert Log(store(), STREAM, 0).starts() == [10]
    assert passed == {"temp-written", "published", "kept", "floor-moved", "trimmed"}


def test_67_killed_at_every_step_until_it_gets_through(
    local: Callable[[], Storage], undisturbed_short: dict[str, bytes]
) -> None:
    """Every start gets one step further than the last."""
    for n in itertools.count(1):
        with hooked(KillAt(n)):
            try:
                work(local())
            except Killed:
                continue
        break
    assert files(local()) == undisturbed_short


WORK = """
import sys
from pipelines.storage import open_storage
from tests.pipelines.chains import work
work(open_storage(sys.argv[1]))
"""


@pytest.mark.parametrize("step", ["temp-written:9", "published:2", "floor-moved"])
def test_67_kill_9(tmp_path: Path, step: str, undisturbed_short: dict[str, bytes]) -> None:
    root = tmp_path / "tables"
    for fault, code in ((step, -signal.SIGKILL), ("", 0)):
        env = {**os.environ, "ENGRAM_FAULT": fault, "PYTHONPATH": os.getcwd()}
        ended = subprocess.run([sys.executable, "-c", WORK, str(root)], env=env, check=False)
        assert ended.returncode == code
    storage = open_store("local", tmp_path)()
    assert files(storage) == undisturbed_short
    assert os.listdir(root / "_tmp") == []


@pytest.mark.parametrize("broken", ["torn", "missing", "manifest"])
def test_6_what_a_power_loss_tore_counts_as_unpublished(
    local: Callable[[], Storage], undisturbed: dict[str, bytes], broken: str
) -> None:
    storage = local()
    _, log = publish(storage)
    fill(log, CUTS)
    Publisher(storage, SIZE).publish(log)
    segment = Segment(STREAM, 0, 3, SIZE)
    path = segment.manifest if broken == "manifest" else segment.path("entities", "medical")
    if broken == "missing":
        storage.delete(path)
    else:
        storage.replace(path, storage.read(path)[:99])
    publish(local())
    assert files(storage) == undisturbed
    manifest = read_manifest(storage, segment)
    assert manifest is not None
    assert intact(storage, manifest)


def test_7_a_closed_file_that_is_not_as_written_keeps_the_log(
    local: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes]
) -> None:
    storage = local()
    publisher, log = publish(storage)
    fill(log, CUTS)
    replace_if = storage.replace_if

    def tear(path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        torn = data[:-1] if path.startswith("events/") else data
        return replace_if(path, torn, version, durable=durable)

    monkeypatch.setattr(storage, "replace_if", tear)
    assert publisher.publish(log).contended
    assert log.starts() == CUTS[:-1]
    monkeypatch.undo()
    assert publisher.publish(log).closed == 3
    assert files(storage) == undisturbed


# -- two at once, and one who wakes up late ---------------------------------------------------------------------------


def settle(publisher: Publisher, log: Log) -> None:
    """A few ticks in which nobody else is about are enough."""
    assert any(not publisher.publish(log).contended for _ in range(3))


class WakeUpAt:
    """A publisher is paused at its n-th step; meanwhile another commits and publishes `cuts`."""

    def __init__(self, n: int, storage: Storage, cuts: Sequence[int]) -> None:
        self.n, self.passed, self.storage, self.cuts = n, 0, storage, cuts
        self.saw: dict[str, bytes] = {}

    def __call__(self, step: str) -> None:
        self.passed += 1
        if self.passed == self.n:
            with hooked(lambda _: None):
                publisher, log = Publisher(self.storage, SIZE), Log(self.storage, STREAM, 0)
                fill(log, self.cuts)
                settle(publisher, log)
                self.saw = files(self.storage)


@pytest.mark.parametrize("cuts", [(8, 9), (8, 10, 13)])
def test_6_who_wakes_up_late_never_puts_old_over_new(
    tmp_path: Path, cuts: tuple[int, ...], undisturbed_short: dict[str, bytes]
) -> None:
    """On an object store nothing holds a second publisher up: it comes at every step of the first, in turn."""
    for n in itertools.count(1):
        store = open_store("memory", tmp_path)
        fill(Log(store(), STREAM, 0), (0, 6, 8))
        publisher, log = Publisher(store(), SIZE), Log(store(), STREAM, 0)
        other = WakeUpAt(n, store(), cuts)
        with hooked(other):
            publisher.publish(log)
        if other.passed < n:
            break
        now = files(store())
        for table in VIEWS:
            assert set(offsets(other.saw, table)) <= set(offsets(now, table)), (n, table)
        settle(publisher, log)
        closed = cuts[-1] // SIZE * SIZE
        assert log.marks() == Marks(0, closed, closed)
        assert offsets(files(store()), "documents") == alive(range(cuts[-1]))
        if cuts[-1] == SHORT[-1]:
            views = {path: data for path, data in undisturbed_short.items() if path.split("/")[0] in VIEWS}
            assert files(store(), *VIEWS) == views
    assert n > 5


RACE = """
import sys
from pipelines.storage import open_storage
from tests.pipelines.chains import work
work(open_storage(sys.argv[1]), range(14))
"""


def test_6_on_one_host_two_processes_share_a_chain(
    local: Callable[[], Storage], undisturbed_short: dict[str, bytes]
) -> None:
    """Both commit and publish at once; each goes on only from where it finds the log's end."""
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    workers = [subprocess.Popen([sys.executable, "-c", RACE, local().root], env=env) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert [t.end for t in Log(local(), STREAM, 0).transactions()] == [11, 12, 13]
    views = {path: data for path, data in undisturbed_short.items() if path.split("/")[0] in VIEWS}
    assert files(local(), *VIEWS) == views


# -- memory below the floor -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(0, 30), (3, 30), (10, 20), (17, 25), (30, 30)])
def test_7_contributions_are_kept(opened: Callable[[], Storage], start: int, end: int) -> None:
    storage = opened()
    _, log = publish(storage)
    fill(log, CUTS)
    publish(storage)
    at, got = start, []
    for first, stop, table in kept_increments(log, start, end):
        assert first == at
        assert set(table["offset"].to_pylist()) <= set(range(first, stop))
        got += increments(table)
        at = stop
    assert at == end
    assert got == [i for o in alive(range(start, end)) for i in contribution(o).increments]


def test_7_missing_contributions_are_an_error(local: Callable[[], Storage]) -> None:
    storage = local()
    _, log = publish(storage)
    fill(log, CUTS)
    publish(storage)
    storage.delete(Segment(STREAM, 0, 1, SIZE).path("memory_log"))
    with pytest.raises(LogError, match="missing or torn"):
        list(kept_increments(log, 0, 30))


# -- read by others ---------------------------------------------------------------------------------------------------


def readers(root: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Documents a domain, as DuckDB, pandas and pyarrow see them at first try."""
    import duckdb
    import pandas as pd

    path = f"{root}/documents"
    rows = duckdb.sql(f"select domain, count(*) from read_parquet('{path}/**/*.parquet', hive_partitioning = true) "
                      "group by domain").fetchall()
    yield "duckdb", {str(domain): int(count) for domain, count in rows}
    yield "pandas", {str(k): int(v) for k, v in pd.read_parquet(path)["domain"].astype(str).value_counts().items()}
    counts = pc.value_counts(pq.read_table(path)["domain"].cast("string"))
    yield "pyarrow", {item["values"]: item["counts"] for item in counts.to_pylist()}


def test_tables_open_at_first_try(local: Callable[[], Storage]) -> None:
    import duckdb

    storage = local()
    _, log = publish(storage)
    fill(log, [0, 3])
    publish(storage)
    for table in TABLES:
        if table != "memory_log":                     # there once a segment is closed
            duckdb.sql(f"select * from '{storage.root}/{table}/**/*.parquet'").fetchall()
    fill(log, [3, 10, 20, 25])
    publish(storage)
    there = alive(range(25))
    other = sum(o % 7 == 3 for o in there)
    for reader, counts in readers(storage.root):
        assert counts == {"medical": len(there) - other, "other/é": other}, reader
    joined = duckdb.sql(
        f"select count(*) from '{storage.root}/entities/**/*.parquet' e join '{storage.root}/transactions/*.parquet' t "
        'on e.stream = t.stream and e.partition = t.partition and e."offset" >= t."from" and e."offset" < t."to"'
    ).fetchall()
    assert joined == [(2 * len(there),)]


def test_transaction_rows_say_how_the_work_was_cut(undisturbed: dict[str, bytes]) -> None:
    rows = [row for path in sorted(undisturbed) if path.startswith("transactions/")
            for row in from_parquet(undisturbed[path], "transactions").to_pylist()]
    assert [(r["from"], r["to"]) for r in rows] == list(itertools.pairwise(CUTS))
    assert rows[1]["view"] == [("a/0", 4)]
    assert rows[1]["engine"] == transaction(4, 10).engine
