"""Memory from the log: what a memory lacks is applied, what it should hold can be summed and compared.

A memory stands at a position in every chain (its view).  Everything below that position is in it, except documents
whose erasure it knows; nothing above is.  Every application names the erasures position its caller knows, so whoever
reads old tombstones writes nothing (STALE) and reads again.  Any number of processes may catch up at once: each
application moves one chain from where it stands, once.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

from kie_ops.errors import LogError
from kie_ops.memory import Cell
from memory_store.local import LocalStore
from memory_store.store import ERASURES, Applied, MemoryStore
from pipelines import erasure
from pipelines.commit_log import Log, chains
from pipelines.faults import at
from pipelines.parts import parts
from pipelines.races import win
from pipelines.storage import Storage
from pipelines.tombstones import Tombstones

IDENTITY = "_log/_ID"
MARK = "log-"


def catch_up(storage: Storage, store: MemoryStore, names: Collection[str] | None = None) -> dict[str, int]:
    """Applies to memory what it lacks of the chains `names` (all of them by default); its positions afterwards.

    Erasures come first, always.  A memory that lacks an erasure whose contribution is gone from the log, while it
    holds the document, is cleared and summed anew.  Raises LogError where memory holds more than the log, or what
    belongs to another log; ServiceError where a service is down or others never let go.
    """
    return win(lambda: store.positions() if _catch_up_once(storage, store, names) else None, store.namespace)


def _catch_up_once(storage: Storage, store: MemoryStore, names: Collection[str] | None) -> bool:
    """False: somebody else changed something meanwhile, start over."""
    ends = own(storage, store, names)
    tombstones = _tombstones(storage)
    if not erasure.settle(storage, store, tombstones):
        return False
    positions = store.positions()
    return all(
        _advance(store, log, positions.get(log.chain, 0), end, tombstones)
        for log, end in ends if log.chain != ERASURES
    )


def _advance(store: MemoryStore, log: Log, position: int, end: int, tombstones: Tombstones) -> bool:
    try:
        for part in parts(log, position, end, tombstones):
            applied = store.apply(log.chain, part.start, part.end, part.increments, erasures=tombstones.position)
            if applied in (Applied.STALE, Applied.BEHIND):
                return False
            at("catching-up")
    except FileNotFoundError:  # trimmed between listing and reading
        return False
    return True


_read: WeakKeyDictionary[Storage, Tombstones] = WeakKeyDictionary()
_reading = Lock()


def _tombstones(storage: Storage) -> Tombstones:
    """All there are, of which only the new ones are read."""
    with _reading:
        if storage not in _read:
            _read[storage] = Tombstones.load(storage)
        _read[storage].refresh()
        return _read[storage].up_to(_read[storage].position)


def rebuild(storage: Storage, store: MemoryStore, *, force: bool = False) -> dict[str, int]:
    """Clears memory and sums every contribution anew; the positions afterwards.

    Workers may go on meanwhile.  Raises LogError where the namespace belongs to another log, unless `force`.
    """
    if not force:
        _check_mark(storage, store)
    with storage.lock(erasure.REBUILDING):
        store.clear()
    return catch_up(storage, store)


# -- which memory belongs to which log ------------------------------------------------------------------------------


def identity(storage: Storage) -> str:
    """The log's own id, settled when it is first asked for."""
    try:
        return storage.read(IDENTITY).decode()
    except FileNotFoundError:
        storage.create(IDENTITY, uuid.uuid4().hex.encode())
        return storage.read(IDENTITY).decode()


def own(storage: Storage, store: MemoryStore, names: Collection[str] | None = None) -> list[tuple[Log, int]]:
    """Marks the namespace as this log's, where it bears no mark yet; the chains (of `names` and the erasures) and
    their ends.  LogError where it is another's, or knows more than the log.

    The mark is a chain without contributions, so that it is as atomic and as lasting as everything in memory.
    """
    mark = _check_mark(storage, store)
    positions = store.positions()
    if mark not in positions:
        store.apply(mark, 0, 1, (), erasures=positions.get(ERASURES, 0))
        _check_mark(storage, store)
    logs = {log.chain: log for log in _logs(storage)}
    asked = {*logs, *positions} if names is None else {*names, ERASURES}
    ends = {chain: logs[chain].end() if chain in logs else 0 for chain in sorted(asked) if not chain.startswith(MARK)}
    for chain, end in ends.items():
        if positions.get(chain, 0) > end:
            raise LogError(
                f"memory {store.namespace} holds {chain} up to {positions[chain]}, but the log ends at {end}",
                where=storage.root,
                next_step="check tables.root and memory.namespace; if the log was restored from an older copy, "
                          "run: engram memory rebuild",
            )
    return [(logs[chain], end) for chain, end in ends.items() if chain in logs]


def _check_mark(storage: Storage, store: MemoryStore) -> str:
    mine = f"{MARK}{identity(storage)}/0"
    others = [chain for chain in store.positions() if chain.startswith(MARK) and chain != mine]
    if others:
        raise LogError(
            f"memory {store.namespace} belongs to another log", where=storage.root,
            next_step="set memory.namespace to a name of its own, or tables.root to where its log lies",
        )
    return mine


def _logs(storage: Storage) -> Iterator[Log]:
    return (Log(storage, stream, partition) for stream, partition in chains(storage))


# -- what memory should hold ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a cell that is not the sum of its contributions: integers, or packed vectors."""

    key: str
    field: str
    expected: int | bytes | None
    found: int | bytes | None


def summed(storage: Storage, view: Mapping[str, int]) -> LocalStore:
    """The sum of all contributions below `view`, without the documents whose erasure it knows.

    Documents erased later are in it where the log still has their contributions.
    """
    tombstones = Tombstones.load(storage).up_to(view.get(ERASURES, 0))
    store = LocalStore("sum")
    for log in _logs(storage):
        if log.chain == ERASURES:
            continue
        for part in parts(log, 0, view.get(log.chain, 0), tombstones):
            store.apply(log.chain, part.start, part.end, part.increments, erasures=0)
    return store


def verify(storage: Storage, store: MemoryStore) -> list[Difference]:
    """Where memory differs from the sum of the contributions below its own positions; empty where it is right.

    Raises ServiceError where memory changes all the time meanwhile.
    """
    return win(lambda: _verify_once(storage, store), store.namespace)


def _verify_once(storage: Storage, store: MemoryStore) -> list[Difference] | None:
    view = store.positions()
    found = {cell.key: cell for cell in store.cells()}
    if store.positions() != view:
        return None
    expected = {cell.key: cell for cell in summed(storage, view).cells()}
    return [difference for key in sorted(expected.keys() | found.keys())
            for difference in _compare(key, expected.get(key), found.get(key))]


def _compare(key: str, expected: Cell | None, found: Cell | None) -> Iterator[Difference]:
    want = _fields(expected)
    have = _fields(found)
    for name in sorted(want.keys() | have.keys()):
        if want.get(name) != have.get(name):
            yield Difference(key, name, want.get(name), have.get(name))


def _fields(cell: Cell | None) -> dict[str, int | bytes]:
    return {} if cell is None else {**cell.counts, **cell.vectors}
