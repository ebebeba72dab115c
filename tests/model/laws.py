"""The promises, each checked where it could be broken: at every write, at every change of memory, at the end.

    chain     log chains have no gap and no fork, and what is committed stays as it was, but for rows of erased places
    read      a transaction's rows are what its text and the memory at its view give
    memory    memory at its positions is the sum of the contributions up to there
    tables    tables hold the log's rows and no others, up to the published position all of them, none twice
    erased    what was forgotten is in no file any more once `forget` has returned, and never comes again
    tick      after a tick, memory lacks nothing that had been said or erased before it
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote

from kie_ops.memory import Cell
from kie_ops.records import Place
from memory_store.local import LocalStore
from pipelines import decoding, rows as table_rows
from pipelines.segments import from_parquet
from tests.model.disk import Disk
from tests.model.stage import Violation
from tests.model.truth import Committed, Counts, Row, Truth, committed, rows
from tests.pipelines.worker_fakes import STREAM, FakeExtractor

TABLES = ("documents", "dead_letters", "entities", "memory_log")


def wrote(truth: Truth, disk: Disk, path: str, before: bytes | None, after: bytes | None) -> None:
    """After every write."""
    parts = path.split("/")
    if parts[0] == "_log" and len(parts) == 4:
        chain = f"{unquote(parts[1])}/{parts[2]}"
        if parts[3] == "FLOOR" and after is not None:
            _floor(truth, disk, chain, after)
        elif parts[3].isdigit():
            _log(truth, chain, int(parts[3]), before, after)
    elif parts[0] in TABLES and after is not None:
        found = parquet(after, parts[0])
        _known(truth, path, parts[0], found)
        _gone(truth, path, found)


def _floor(truth: Truth, disk: Disk, chain: str, data: bytes) -> None:
    marks = json.loads(data)
    begin, floor, published = marks["begin"], marks["floor"], marks["published"]
    old = truth.floors.get(chain)
    if old and (begin != old[0] or floor < old[1] or published < old[2]):
        raise Violation(f"chain: marks of {chain} went from {old} back to {marks}")
    truth.floors[chain] = begin, floor, published
    if not begin <= floor <= published <= max(truth.end(chain), begin):
        raise Violation(f"chain: marks of {chain} are {marks}, its end is {truth.end(chain)}")
    if old and published > old[2]:
        _published(truth, disk, chain, published)


def _log(truth: Truth, chain: str, start: int, before: bytes | None, after: bytes | None) -> None:
    known = truth.chains.setdefault(chain, {})
    floor = truth.floors.get(chain, (0, 0, 0))[1]
    if after is None:
        if start >= floor:
            raise Violation(f"chain: {chain}/{start} was deleted, the floor is {floor}")
    elif start >= floor:
        new = committed(after)
        if before is None:
            if start != truth.end(chain):
                raise Violation(f"chain: {chain} ends at {truth.end(chain)}, but {start} was committed")
            known[start] = new
            if chain.startswith(STREAM):
                _read(truth, new)
        else:
            _rewritten(truth, chain, start, known[start], new)
        for found in new.rows.values():
            _gone(truth, f"{chain}/{start}", found if chain.startswith(STREAM) else frozenset(), chain)


def _rewritten(truth: Truth, chain: str, start: int, old: Committed, new: Committed) -> None:
    stream, _, partition = chain.rpartition("/")
    erased = {p.offset for p in truth.erased(2**60) if (p.stream, p.partition) == (stream, int(partition))}
    if new.end != old.end or new.rows.keys() != old.rows.keys():
        raise Violation(f"chain: {chain}/{start} was replaced by another transaction")
    for name, found in new.rows.items():
        if not found <= old.rows[name] or {offset for offset, _ in old.rows[name] - found} - erased:
            raise Violation(f"chain: rows of {name} in {chain}/{start} changed")


def _read(truth: Truth, new: Committed) -> None:
    """Replays the transaction with the memory that its view names."""
    transaction, extractor = new.transaction, FakeExtractor()
    memory = truth.memory(transaction.view)
    places = [Place(transaction.stream, transaction.partition, offset) for offset in range(transaction.start, new.end)]
    readings = extractor.encode([truth.documents[p] for p in places if p in truth.documents])
    given = [extractor.contribution(reading) for reading in readings]
    cells = {key: Cell(key, counts) for key, counts in memory.items()}
    decoded = decoding.decode(extractor, readings, given, cells)  # type: ignore[arg-type]
    want = rows(table_rows.to_tables(decoded, [], given, "small", extractor.version)["entities"])
    if want != new.rows["entities"]:
        raise Violation(f"read: [{transaction.start}, {new.end}) was not read with memory at {transaction.view}")


def _known(truth: Truth, path: str, table: str, found: frozenset[Row] | Counter[Row]) -> None:
    log = frozenset[Row]().union(*(c.rows[table] for chain in truth.chains.values() for c in chain.values()
                                   if table in c.rows))
    if not frozenset(found) <= log:
        raise Violation(f"tables: {path} holds rows that the log never had")
    if max(Counter(found).values(), default=1) > 1:
        raise Violation(f"tables: {path} holds rows twice")


def _gone(truth: Truth, path: str, found: frozenset[Row] | Counter[Row], chain: str | None = None) -> None:
    for place in truth.forgotten:
        if any(offset == place.offset for offset, _ in found) and _of(path, place, chain):
            raise Violation(f"erased: {place} is in {path} again")


def _of(path: str, place: Place, chain: str | None) -> bool:
    name = path.rpartition("/")[2]
    return chain == place.chain if chain else name.startswith(f"{place.stream}-{place.partition}-")


def _published(truth: Truth, disk: Disk, chain: str, position: int) -> None:
    """All rows below the published position are in the tables, those of places with a tombstone perhaps not."""
    stream, _, partition = chain.rpartition("/")
    erased = {p.offset for p in truth.erased(2**60) if p.chain == chain}
    for table in TABLES:
        have = Counter[Row]()
        for path, data in disk.files.items():
            if path.startswith(f"{table}/") and path.rpartition("/")[2].startswith(f"{stream}-{partition}-"):
                have.update(parquet(data, table))
        want = {row for start, c in truth.chains[chain].items() if start < position for row in c.rows.get(table, ())}
        missing = {row for row in want - have.keys() if row[0] not in erased}
        if missing:
            raise Violation(f"tables: {table} lacks offsets {sorted({o for o, _ in missing})} of {chain}, "
                            f"published to {position}")
        if max(have.values(), default=1) > 1:
            raise Violation(f"tables: {table} of {chain} holds rows twice")


def memory(truth: Truth, store: LocalStore) -> None:
    """After every change of memory."""
    view = store.positions()
    for chain, position in view.items():
        if not chain.startswith("log-") and position > truth.end(chain):
            raise Violation(f"memory: it stands at {position} in {chain}, which ends at {truth.end(chain)}")
    found = counts(store)
    want = truth.memory(view)
    if found != want:
        wrong = sorted(k for k in found.keys() | want.keys() if found.get(k) != want.get(k))
        raise Violation(f"memory: at {view} it holds {[(k, found.get(k)) for k in wrong]}, "
                        f"not {[(k, want.get(k)) for k in wrong]}")


def counts(store: LocalStore) -> Counts:
    return {cell.key: dict(cell.counts) for cell in store.cells()}


def forgotten(truth: Truth, disk: Disk, places: Mapping[Place, None]) -> None:
    """When `forget` returns."""
    truth.forgotten.update(places)
    for path, found, chain in _everything(truth, disk):
        _gone(truth, path, found, chain)


def _everything(truth: Truth, disk: Disk) -> Iterator[tuple[str, frozenset[Row], str | None]]:
    for path, data in disk.files.items():
        parts = path.split("/")
        if parts[0] in TABLES:
            yield path, frozenset(parquet(data, parts[0])), None
        elif parts[0] == "_log" and len(parts) == 4 and parts[3].isdigit() and parts[1] == STREAM:
            for found in committed(data).rows.values():
                yield path, found, f"{parts[1]}/{parts[2]}"


def tick(truth: Truth, store: LocalStore, before: Mapping[str, int], own: Mapping[str, int]) -> None:
    """After a tick in which memory did not go back: `before` are the ledger's ends, `own` the worker's, before it."""
    view = store.positions()
    for chain, end in {**before, **own}.items():
        if view.get(chain, 0) < end:
            raise Violation(f"tick: memory stands at {view.get(chain, 0)} in {chain}, which ended at {end} before it")


def swept(truth: Truth, disk: Disk) -> None:
    """When all are done and nobody was killed."""
    for path, _, chain in _everything(truth, disk):
        if chain and int(path.rpartition("/")[2]) < truth.floors[chain][1]:
            raise Violation(f"chain: {path} lies below the floor")


def at_rest(truth: Truth, disk: Disk, store: LocalStore) -> None:
    """When everything has been read and a worker has come by."""
    for chain, end in truth.inputs().items():
        if truth.end(chain) != end:
            raise Violation(f"chain: {chain} ends at {truth.end(chain)}, its input at {end}")
    memory(truth, store)
    view = store.positions()
    behind = {chain: end for chain, end in truth.ends().items() if view.get(chain, 0) != end}
    if behind:
        raise Violation(f"memory: at rest it stands at {view}, the log at {behind}")
    negative = [(k, f, n) for k, fields in counts(store).items() for f, n in fields.items() if n < 0]
    if negative:
        raise Violation(f"memory: counts below nothing: {negative}")
    swept(truth, disk)
    erased = truth.erased(2**60)
    truth.forgotten |= erased
    for path, found, chain in _everything(truth, disk):
        _gone(truth, path, found, chain)
    for table in TABLES:
        _tables_at_rest(truth, disk, table, erased)


def _tables_at_rest(truth: Truth, disk: Disk, table: str, erased: set[Place]) -> None:
    have: dict[str, Counter[Row]] = {}
    for path, data in disk.files.items():
        if path.startswith(f"{table}/"):
            have.setdefault(path.rpartition("/")[2].rpartition("-")[0], Counter()).update(parquet(data, table))
    for chain in truth.inputs():
        stream, _, partition = chain.rpartition("/")
        gone = {p.offset for p in erased if p.chain == chain}
        until = truth.floors[chain][2] if table == "memory_log" else truth.end(chain)
        want = Counter(row for start, c in truth.chains[chain].items() if start < until
                       for row in c.rows.get(table, ()) if row[0] not in gone)
        found = have.get(f"{stream}-{partition}", Counter())
        if found != want:
            raise Violation(f"tables: {table} of {chain} holds offsets {sorted(o for o, _ in found.elements())}, "
                            f"not {sorted(o for o, _ in want.elements())}")


@lru_cache(maxsize=4096)
def parquet(data: bytes, table: str) -> Counter[Row]:
    """Rows of a table's file and how often each is there."""
    read = from_parquet(data, table)
    return Counter((row["offset"], repr(dict(sorted(row.items())))) for row in read.to_pylist())
