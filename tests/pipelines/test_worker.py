"""The worker: one partition's tables and memory are the same whatever happens between its steps, and whoever works."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kie_ops.records import Place
from memory_store.local import LocalStore
from memory_store.store import Applied
from pipelines import recovery
from pipelines.commit_log import Log
from pipelines.config import Config, load as load_config
from pipelines.faults import STEPS
from pipelines.ledger import Ledger
from pipelines.parse import parse_batch
from pipelines.publisher import Publisher
from pipelines.rows import increments
from pipelines.shard import Batch, Shard
from pipelines.storage import Storage
from pipelines.worker import Worker
from tests.pipelines import chains
from tests.pipelines.ledger_world import content, empty_storage, restore, snapshot, taught
from tests.pipelines.worker_fakes import SEGMENT, STREAM, FakeExtractor, ListFeed, records

RECORDS = {0: records(3)[0]}
WAIT_S = 0.01


@dataclass
class Site:
    """Storage and memory that outlive the workers on them."""

    storage: Storage = field(default_factory=empty_storage)
    store: LocalStore = field(default_factory=LocalStore)

    def worker(self, **settings: object) -> Worker:
        config = settings_of(**settings)
        shard = Shard(ListFeed(RECORDS), lambda s, p: Log(self.storage, s, p), config)
        publisher = Publisher(self.storage, SEGMENT, config.tables.trim)
        ledger = Ledger(self.storage, self.store)
        return Worker(config, shard, FakeExtractor(), self.storage, self.store, publisher, ledger, "fake")  # type: ignore[arg-type]

    @property
    def log(self) -> Log:
        return Log(self.storage, STREAM, 0)

    def result(self) -> tuple[dict[str, bytes], bytes]:
        tables = {name: data for name, data in chains.files(self.storage).items() if "transactions" not in name}
        return tables, content(self.store)


def settings_of(**settings: object) -> Config:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return load_config(None, {"tables.segment": SEGMENT, "batch.documents": 3, "batch.gather_s": WAIT_S, **named}, {})


def finish(worker: Worker, batches: int | None = None) -> None:
    """Reads to the end of the input (or so many batches), and publishes."""
    worker.own()
    while not worker.shard.ended() and batches != 0:
        element = worker.shard.gather(WAIT_S)
        if isinstance(element, Batch):
            worker.process(parse_batch(element, worker.config.source.format, "small"))
            worker.publish()
            batches = None if batches is None else batches - 1
    worker.publish()


@dataclass
class Killer:
    """A hook that ends the worker when it passes `step` for the n-th time."""

    step: str
    left: int

    def __call__(self, step: str) -> None:
        self.left -= step == self.step
        if step == self.step and self.left == 0:
            raise chains.Killed(step)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, bytes], bytes]:
    site = Site()
    finish(site.worker())
    assert site.log.end() == RECORDS[0][-1].place.offset + 1
    return site.result()


@pytest.mark.parametrize("nth", [1, 2, 5])
@pytest.mark.parametrize("step", STEPS)
def test_a_death_at_any_step_changes_nothing(step: str, nth: int, undisturbed: tuple[dict[str, bytes], bytes]) -> None:
    site, killer = Site(), Killer(step, nth)
    with chains.hooked(killer):
        try:
            finish(site.worker())
        except chains.Killed:
            pass
        else:
            assert step == "owned", f"{step} was passed fewer than {nth} times"
    finish(site.worker())
    assert site.result() == undisturbed


@pytest.mark.parametrize("step", STEPS)
def test_memory_that_forgets_at_any_step_is_made_again(step: str, undisturbed: tuple[dict[str, bytes], bytes]) -> None:
    site, killer = Site(), Killer(step, 1)
    with chains.hooked(killer):
        try:
            finish(site.worker())
        except chains.Killed:
            site.store.clear()
    finish(site.worker())
    assert site.result() == undisturbed


def test_memory_wiped_while_a_worker_goes_on(undisturbed: tuple[dict[str, bytes], bytes]) -> None:
    site = Site()
    worker = site.worker()
    for _ in range(4):
        finish(worker, batches=2)
        site.store.clear()
    finish(worker)
    assert site.result() == undisturbed


def test_two_workers_take_turns_and_the_late_one_discards(undisturbed: tuple[dict[str, bytes], bytes]) -> None:
    site = Site()
    late, early = site.worker(batch__documents=2), site.worker()
    late.own()
    held = late.shard.gather(1.0)
    assert isinstance(held, Batch)
    finish(early, batches=2)
    before = site.log.end()
    late.process(parse_batch(held, late.config.source.format, "small"))
    assert site.log.end() == before, "somebody else was first: nothing may be committed"
    finish(late)
    assert site.result() == undisturbed


@pytest.mark.parametrize("settings", [
    {"batch__documents": 1}, {"batch__documents": 64}, {"batch__increments": 4}, {"tables__trim": False},
])
def test_tables_do_not_depend_on_how_work_is_cut(
    settings: dict[str, object], undisturbed: tuple[dict[str, bytes], bytes]
) -> None:
    site = Site()
    finish(site.worker(**settings))
    assert site.result() == undisturbed


def test_a_batch_whose_memory_grows_a_lot_is_several_transactions() -> None:
    site = Site()
    finish(site.worker(batch__documents=8, batch__increments=4, tables__trim=False))
    sizes = [len(t.tables["memory_log"]) for t in site.log.transactions()]
    documents = [len(t.tables["documents"]) for t in site.log.transactions()]
    assert all(size <= 4 or count == 1 for size, count in zip(sizes, documents, strict=True))


# -- ticks ----------------------------------------------------------------------------------------------------------


def test_a_tick_notices_a_correction_that_memory_lost_before_this_worker_saw_it() -> None:
    site = Site()
    worker = site.worker()
    finish(worker, batches=2)
    before = snapshot(site.store)
    Ledger(site.storage, site.store).correct("c1", taught("c1"))
    after = content(site.store)
    restore(site.store, before)
    worker.publish()
    assert content(site.store) == after


def test_a_tick_takes_out_an_erased_document_that_a_late_worker_brought_back() -> None:
    """Memory is restored to a copy from before the erasure; a worker that was paused adds what it had read then."""
    site = Site()
    before = snapshot(site.store)
    worker = site.worker(batch__documents=1, tables__trim=False)
    finish(worker, batches=1)
    first = next(site.log.transactions())
    chain, added = f"{STREAM}/0", tuple(increments(first.tables["memory_log"]))
    place = Place(STREAM, 0, first.tables["documents"]["offset"][0].as_py())
    Ledger(site.storage, site.store).forget(place=place)
    without = content(site.store)
    assert added
    restore(site.store, before)
    worker.seen = {}
    assert site.store.apply(chain, 0, first.end, added, erasures=0) is Applied.APPLIED
    worker.publish()
    assert content(site.store) == without


def test_a_tick_notices_documents_that_memory_lost_while_it_was_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is wiped between the last application and the worker's look at the view: it never saw a newer one."""
    site = Site()
    finish(site.worker())
    expected = site.result()
    worker, catch_up = site.worker(), recovery.catch_up

    def wiped(*given: object) -> dict[str, int]:
        catch_up(*given)  # type: ignore[arg-type]
        site.store.clear()
        return site.store.positions()

    with monkeypatch.context() as m:
        m.setattr(recovery, "catch_up", wiped)
        worker.own()
    assert site.store.positions() == {}
    worker.publish()
    assert site.result() == expected
