"""Who acts in a world: workers, reviewers, somebody who forgets, somebody who evicts.  Real code, small inputs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from kie_ops.errors import InputError
from kie_ops.records import Place, RawRecord
from memory_store.store import MemoryStore
from pipelines.commit_log import Log
from pipelines.config import Config, load
from pipelines.ledger import Ledger
from pipelines.parse import parse_batch
from pipelines.publisher import Publisher
from pipelines.shard import Batch, Shard
from pipelines.storage import Storage
from pipelines.worker import Worker
from tests.model.process import Process
from tests.model.world import SEGMENT, Program, Scenario, World
from tests.pipelines.ledger_world import taught
from tests.pipelines.worker_fakes import STREAM, FakeExtractor, ListFeed

NEVER = float("inf")
BROKEN = "broken"


def records(*texts: str, partition: int = 0) -> list[RawRecord]:
    """One record an offset: "id: words", or BROKEN for one that is no document."""
    out = []
    for offset, text in enumerate(texts):
        name, _, words = text.partition(": ")
        value = b"\xff" if text == BROKEN else json.dumps({"doc_id": name, "text": words}).encode()
        out.append(RawRecord(Place(STREAM, partition, offset), offset, value))
    return out


def open_worker(
    scenario: Scenario, storage: Storage, store: MemoryStore, partitions: Sequence[int] = (), batch: int = 1
) -> Worker:
    config = _config(batch)
    mine: Mapping[int, Sequence[RawRecord]] = {
        p: found for p, found in scenario.records.items() if not partitions or p in partitions}
    clock = itertools.count().__next__
    shard = Shard(ListFeed(mine), lambda s, p: Log(storage, s, p), config, clock=lambda: float(clock()))
    publisher = Publisher(storage, SEGMENT, config.tables.trim)
    ledger = Ledger(storage, store)
    return Worker(config, shard, FakeExtractor(), storage, store, publisher, ledger, "model",  # type: ignore[arg-type]
                  _housekeeping_due=NEVER)


@lru_cache
def _config(batch: int) -> Config:
    return load(None, {"tables.segment": SEGMENT, "tables.publish_every_s": 1e9, "batch.gather_s": 0.001,
                       "batch.documents": batch, "domain": "small"}, {})


def work(worker: Worker, publish: Callable[[], None]) -> None:
    """Reads to the end of the input, publishing after each batch and once more."""
    worker.own()
    while not worker.shard.ended():
        element = worker.shard.gather(10.0)
        if isinstance(element, Batch):
            worker.process(parse_batch(element, worker.config.source.format, "small"))
            publish()
    publish()


def worker(*partitions: int, batch: int = 1) -> Program:
    def program(world: World, process: Process) -> None:
        one = open_worker(world.scenario, process.storage, process.store, partitions, batch)

        def publish() -> None:
            own = {log.chain: log.tail for log in one.shard.logs.values() if log.tail}
            with world.ticking(process, own):
                one.publish()

        work(one, publish)

    return program


def ledger(*calls: Callable[[Ledger], object]) -> Program:
    """Each call by a process of its own would see less; one after another they see all that came before."""
    def program(world: World, process: Process) -> None:
        one = Ledger(process.storage, process.store)
        for call in calls:
            call(one)

    return program


def correct(id: str) -> Callable[[Ledger], object]:
    return lambda one: one.correct(id, taught(id))


def undo(id: str) -> Callable[[Ledger], object]:
    return lambda one: one.undo(id)


def evict(max_cells: int) -> Callable[[Ledger], object]:
    return lambda one: one.evict(max_cells)


def forget(offset: int | None = None, *, doc_id: str | None = None, partition: int = 0) -> Program:
    """Forgets what stands there now; nothing where it has not been read yet."""
    def program(world: World, process: Process) -> None:
        place = None if offset is None else Place(STREAM, partition, offset)
        try:
            done = Ledger(process.storage, process.store).forget(place=place, doc_id=doc_id)
        except InputError:
            return
        world.forgot(process, done.places)

    return program
