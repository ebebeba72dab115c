"""A small exploration of every scenario, and what the model itself stands on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_store.store import Applied
from pipelines.storage import verify_exclusive
from tests.model.actors import records, worker
from tests.model.disk import Disk, DiskStorage
from tests.model.explorer import Explorer
from tests.model.scenarios import SCENARIOS
from tests.model.world import Scenario, WatchedStore

STATES = 300
"""For each scenario; `make model` explores more."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_no_schedule_breaks_a_promise(scenario: Scenario) -> None:
    report = Explorer(scenario, states=STATES).run()
    print(report)
    assert not report.violations, report.violations[0]
    assert report.states >= STATES or not report.left


ONE = Scenario("one document", {0: records("a: rash")}, [("worker", worker())])


def test_a_small_world_is_explored_to_its_end() -> None:
    """One worker, one document, one death and one loss of memory at any of the named steps: every schedule there is."""
    report = Explorer(ONE, grain="steps").run()
    assert not report.violations, report.violations[0]
    assert report.left == 0
    assert report.deviations == 2


def test_the_order_of_schedules_does_not_matter_in_the_end() -> None:
    one, two = (Explorer(replace(ONE, restores=0), grain="steps", seed=seed).run() for seed in (1, 2))
    assert one.left == two.left == 0
    assert (one.states, one.ends) == (two.states, two.ends)


@pytest.mark.parametrize("local", [True, False])
def test_the_disk_keeps_a_storages_promises(local: bool) -> None:
    storage = DiskStorage(Disk(local))
    verify_exclusive(storage)
    other = DiskStorage(storage.disk)
    assert storage.create("a/1", b"1")
    assert not other.create("a/1", b"2")
    seen = storage.version("a/1")
    assert other.replace_if("a/1", b"3", seen)
    assert not storage.replace_if("a/1", b"4", seen)
    assert not storage.replace_if("a/2", b"4", "never")
    assert storage.read("a/1") == b"3"
    assert storage.names("") == ["_log", "a"] or storage.names("") == ["a"]
    storage.delete("a/1")
    assert storage.version("a/1") is None
    with pytest.raises(FileNotFoundError):
        storage.read("a/1")


def test_versions_of_a_disk_never_come_again_those_of_an_object_store_may() -> None:
    for local in (True, False):
        storage = DiskStorage(Disk(local))
        storage.replace("f", b"1")
        seen = storage.version("f")
        storage.replace("f", b"2")
        storage.replace("f", b"1")
        assert (storage.version("f") == seen) is not local


def test_the_digest_of_a_disk_is_that_of_its_content() -> None:
    one, two = Disk(local=False), Disk(local=False)
    one.put("a", b"1")
    one.put("b", b"2")
    two.put("b", b"0")
    two.put("b", b"2")
    two.put("a", b"1")
    assert one.digest == two.digest != Disk(local=False).digest
    one.put("a", None)
    two.put("a", None)
    assert one.digest == two.digest


def test_a_watched_memory_tells_of_changes_alone() -> None:
    told: list[int] = []
    store = WatchedStore("model")
    store.changed = lambda: told.append(len(told))  # type: ignore[method-assign]
    assert store.apply("s/0", 0, 1, (), erasures=0) is Applied.APPLIED
    assert store.apply("s/0", 0, 1, (), erasures=0) is Applied.SKIPPED
    assert store.apply("s/0", 5, 6, (), erasures=0) is Applied.BEHIND
    store.clear()
    assert len(told) == 2
