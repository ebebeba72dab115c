"""Below the floor nothing is left: what a crash left there goes when the next process comes by."""

from __future__ import annotations

import pytest

from pipelines.commit_log import Log
from pipelines.publisher import Publisher
from pipelines.storage import Storage
from tests.pipelines.chains import SIZE, STREAM, KillAt, Killed, fill, hooked, transaction
from tests.pipelines.ledger_world import empty_storage


def starts(storage: Storage) -> list[int]:
    return [int(name) for name in storage.names(Log(storage, STREAM, 0).folder) if name.isdigit()]


def test_7_a_crash_between_the_floor_and_the_deletions() -> None:
    storage = empty_storage()
    log = Log(storage, STREAM, 0)
    fill(log, (0, 6, SIZE, SIZE + 3))
    passed = KillAt(0)
    with hooked(passed):
        Publisher(storage, SIZE).publish(log)
    assert passed.passed.count("floor-moved") == 1

    other = empty_storage()
    log = Log(other, STREAM, 0)
    fill(log, (0, 6, SIZE, SIZE + 3))
    with pytest.raises(Killed), hooked(KillAt(passed.passed.index("floor-moved") + 1)):
        Publisher(other, SIZE).publish(log)
    assert starts(other) == [0, 6, SIZE]
    Publisher(other, SIZE).publish(Log(other, STREAM, 0))
    assert starts(other) == starts(storage) == [SIZE]


def test_7_a_late_writer_that_was_killed_before_it_looked_at_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = empty_storage()
    log, late = Log(storage, STREAM, 0), Log(storage, STREAM, 0)
    late.open_at(0)
    late.end()
    fill(log, (0, 6, SIZE))
    Publisher(storage, SIZE).publish(log)

    def killed(self: Log) -> int:
        raise Killed

    with monkeypatch.context() as m:
        m.setattr(Log, "floor", killed)
        with pytest.raises(Killed):
            late.commit(transaction(0, 6))
    assert starts(storage) == [0]
    Publisher(storage, SIZE).publish(Log(storage, STREAM, 0))
    assert starts(storage) == []
