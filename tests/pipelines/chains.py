"""Small chains to commit and publish: documents as pure functions of their offset, and stores to put them in."""

from __future__ import annotations

import copy
import functools
import itertools
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kie_ops.memory import PROTOTYPE_WIDTH, Contribution, Increment, field
from kie_ops.records import (
    Argument,
    DeadLetter,
    Document,
    Event,
    Evidence,
    Mention,
    Place,
    Reading,
    Relation,
    span_id,
)
from pipelines import faults, rows
from pipelines.commit_log import Log, Transaction
from pipelines.publisher import Publisher
from pipelines.storage import Storage, open_storage
from pipelines.storage_object import ObjectStorage

STREAM, DOMAIN, VERSION = "stream-1", "medical", "model-1"
TABLES = ("documents", "entities", "relations", "events", "dead_letters", "memory_log", "transactions")
TEXT = "Aspirin relieved the headache."
_buckets = itertools.count()


class Killed(BaseException):
    """Stands for a process that ends here; nothing in the code under test may catch it."""


@functools.cache
def _s3() -> str:
    """The address of an S3 server in this process, started once."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def open_store(kind: str, folder: Path) -> Callable[[], Storage]:
    """Opens the same new, empty storage again and again, as several processes would."""
    if kind == "local":
        return lambda: open_storage(str(folder / "tables"))
    if kind == "memory":                         # an object store without a server: quick enough for every interleaving
        shared = ObjectStorage("memory://")
        return lambda: copy.copy(shared)
    bucket = f"bucket-{next(_buckets)}"
    urllib.request.urlopen(urllib.request.Request(f"{_s3()}/{bucket}", method="PUT")).close()
    options = {"endpoint": _s3(), "region": "us-east-1", "access_key_id": "key", "secret_access_key": "secret",
               "retry_config": {"max_retries": 0}}
    return lambda: open_storage(f"s3://{bucket}/tables", options)


def domain_of(offset: int) -> str | None:
    """Mostly the pipeline's own; some documents bring theirs."""
    return {3: "other/é", 5: ""}.get(offset % 7)


def reading(offset: int, stream: str = STREAM, partition: int = 0) -> Reading:
    place = Place(stream, partition, offset)
    document = Document(f"doc-{offset}", TEXT, domain=domain_of(offset), title="A note", timestamp=1_700_000_000_000,
                        meta={"b": "2", "a": str(offset)}, place=place)
    evidence = (Evidence("aspirin", "training", "entity", "CHEMICAL", offset % 3, "pmid:1"),)

    def mention(start: int, end: int, label: str) -> Mention:
        return Mention(span_id(place, "", "entity", start, end, label), start, end, TEXT[start:end], label, 0.875, 0.5,
                       0.25, "MESH:D001241", evidence)

    drug, ache = mention(0, 7, "CHEMICAL"), mention(21, 29, "DISEASE")
    relation = Relation(span_id(place, "", "relation", 0, 29), drug.mention_id, ache.mention_id, "treats", 0.75)
    argument = Argument("drug", 0, 7, "Aspirin", 0.5, drug.mention_id)
    event = Event(span_id(place, "", "event", 8, 16), "treatment", 8, 16, "relieved", 0.5, (argument,),
                  {"negated": "no"})
    return Reading(document, (ache, drug), (relation,), (event,), len(TEXT), 1)


def is_dead(offset: int) -> bool:
    return offset % 11 == 4


def dead_letter(offset: int, stream: str = STREAM, partition: int = 0) -> DeadLetter:
    return DeadLetter(Place(stream, partition, offset), "broken_json", "DocumentError", "not JSON", False,
                      b"\xff{" + str(offset).encode(), b"key", (("h", b"v"), ("h", None)), 5)


def contribution(offset: int, stream: str = STREAM, partition: int = 0) -> Contribution:
    vector = tuple((offset + i) % 251 - 125 for i in range(PROTOTYPE_WIDTH))
    return Contribution(str(Place(stream, partition, offset)), (
        Increment("aspirin", field("self", "bc5cdr", "entity", "CHEMICAL"), 1),
        Increment(f"word {offset % 5}", field("self", "bc5cdr", "none"), 2),
        Increment("aspirin", field("self", "bc5cdr", "prototype", "CHEMICAL"), 1, vector),
    ))


def transaction(start: int, end: int, offsets: Iterable[int] | None = None, *, stream: str = STREAM,
                partition: int = 0) -> Transaction:
    """``[start, end)`` with documents (or dead letters) at `offsets`: all by default."""
    chosen = [o for o in (range(start, end) if offsets is None else offsets) if start <= o < end]
    alive = [o for o in chosen if not is_dead(o)]
    tables = rows.to_tables(
        [reading(o, stream, partition) for o in alive],
        [dead_letter(o, stream, partition) for o in chosen if is_dead(o)],
        [contribution(o, stream, partition) for o in alive], DOMAIN, VERSION,
    )
    return Transaction(stream, partition, start, end, {"a/0": start}, "engine-1", tables)


def fill(log: Log, cuts: Iterable[int], offsets: Iterable[int] | None = None) -> None:
    """Commits a transaction between every two of `cuts`."""
    chosen = None if offsets is None else list(offsets)
    for start, end in itertools.pairwise(cuts):
        assert log.commit(transaction(start, end, chosen, stream=log.stream, partition=log.partition))


def files(storage: Storage, *tables: str) -> dict[str, bytes]:
    """Every file of these tables (all by default) by path."""
    found = {}
    folders = list(tables or TABLES)
    while folders:
        folder = folders.pop()
        for name in storage.names(folder):
            path = f"{folder}/{name}"
            if name.endswith(".parquet"):
                found[path] = storage.read(path)
            else:
                folders.append(path)
    return found


@contextmanager
def hooked(hook: Callable[[str], None]) -> Iterator[None]:
    """Calls `hook` at every named step of the protocol."""
    faults.hook = hook
    try:
        yield
    finally:
        faults.hook = None


class KillAt:
    """A hook that ends the process at the n-th passing of a step; `passed` are all steps passed."""

    def __init__(self, n: int) -> None:
        self.n, self.passed = n, list[str]()

    def __call__(self, step: str) -> None:
        self.passed.append(step)
        if len(self.passed) == self.n:
            raise Killed(step)


SIZE, CUTS = 10, (0, 6, 10, 13)
"""A chain with a closed segment and an open one."""


def work(storage: Storage, cuts: Iterable[int] = CUTS) -> None:
    """What a worker does after a start: goes on from the log's end, publishing after each commit.  A transaction that
    somebody else committed first is left to them."""
    publisher, log = Publisher(storage, SIZE), Log(storage, STREAM, 0)
    publisher.publish(log)
    for start, end in itertools.pairwise(cuts):
        if start == log.end():
            log.commit(transaction(start, end))
            publisher.publish(log)
