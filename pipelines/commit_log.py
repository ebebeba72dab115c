"""The commit log: for each stream partition a chain of small immutable files, each one transaction.

``_log/<stream>/<partition>/`` holds

- ``<start>`` (20 digits): the transaction ``[start, end)``.  Creating this name exclusively is the commit; whoever
  comes second finds it there.  The next transaction starts where this one ends: the chain is followed by names.
- ``FLOOR``: where the chain begins, below which position the tables are complete, and below which files were trimmed.
  It is moved durably *before* the first deletion, so whoever manages to create a file in a trimmed place finds the
  floor above it.  A file below the floor is not part of the log.
- ``LOCK`` and ``segments/``: see pipelines.publisher.

``_log/_META`` holds the segment size: no transaction crosses a multiple of it, for the life of the tables.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from urllib.parse import unquote

from kie_ops.errors import ConfigError, LogError
from pipelines import faults
from pipelines.storage import Storage
from pipelines.transaction import Transaction, decode, encode

__all__ = ["Log", "Marks", "Transaction", "chains", "safe_name", "segment_size", "settle_segment_size"]

ROOT = "_log"
META = f"{ROOT}/_META"
DIGITS = 20
CACHE_BYTES = 64 * 2**20
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
MAX_NAME = 180


@dataclass(frozen=True)
class Marks:
    """``begin <= floor <= published``: first position ever; log files below `floor` are gone; tables and memory_log
    below `published` (a segment's end, or `begin`) are complete and durable."""

    begin: int
    floor: int
    published: int


class Log:
    """The chain of one stream partition.  Any number of processes may hold one: only `commit` decides.

    `tail` is the end as this process last saw it (None: not seen yet, or known to be stale).
    """

    def __init__(self, storage: Storage, stream: str, partition: int) -> None:
        self.storage, self.stream, self.partition = storage, stream, partition
        self.chain = f"{stream}/{partition}"
        self.folder = f"{ROOT}/{safe_name(stream)}/{partition}"
        self.tail: int | None = None
        self._cache = _Cache()
        self._begun = False
        self._segment: int | None = None

    def marks(self) -> Marks | None:
        """None where nothing was ever committed: then the feed says where the chain begins."""
        try:
            marks = Marks(**json.loads(self.storage.read(self._floor_path)))
            self._begun = True
            return marks
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as e:
            raise LogError(f"unreadable floor: {e}", where=self._where(self._floor_path),
                           next_step="restore this file from a copy; the log cannot be read without it") from e

    def begin(self) -> int:
        """The chain's first position ever (0 where nothing was ever committed)."""
        marks = self.marks()
        return 0 if marks is None else marks.begin

    def open_at(self, position: int) -> int:
        """Settles, once and for everybody, where a new chain begins; returns where it does."""
        if not self.starts() and self.marks() is None:
            self.storage.create(self._floor_path, _marks_bytes(Marks(position, position, position)))
        marks = self.marks()
        assert marks is not None
        return marks.begin

    def floor(self) -> int:
        """Files below are not part of the log (0 where nothing was ever committed)."""
        marks = self.marks()
        return 0 if marks is None else marks.floor

    def starts(self) -> list[int]:
        """Where the transactions start, ascending.  The floor is read after listing: a trim that took files out of
        the list had moved it before."""
        starts = [int(name) for name in self.storage.names(self.folder) if _is_start(name)]
        marks = self.marks()
        if marks is None and starts:
            raise LogError("transactions without a floor", where=self._where(self._floor_path),
                           next_step="restore this file from a copy; the log cannot be read without it")
        return [start for start in starts if marks and start >= marks.floor]

    def end(self) -> int:
        """The position after the last transaction, looked up anew; 0 where nothing was ever committed."""
        while True:
            starts = self.starts()
            if not starts:
                self.tail = self.floor()
                return self.tail
            try:
                self.tail = self.read(starts[-1]).end
                return self.tail
            except FileNotFoundError:
                continue                            # trimmed between listing and reading

    def read(self, start: int, *, keep: bool = False) -> Transaction:
        """The transaction that starts there; `keep` it at hand for the next call.

        Raises FileNotFoundError, LogError where the file is not what was committed.
        """
        transaction = self._cache.get(start)
        if transaction is None:
            path = self.path(start)
            transaction = decode(self.storage.read(path), self._where(path))
            if (transaction.stream, transaction.partition, transaction.start) != (self.stream, self.partition, start):
                raise LogError("this file is another's transaction", where=self._where(path),
                               next_step="put it back to its own place; somebody copied or renamed it")
            if keep:
                self._cache.put(transaction)
        return transaction

    def holds(self, start: int) -> bool:
        """Whether a transaction starts there, not looking at the floor: one look-up."""
        return self._cache.get(start) is not None or self.storage.version(self.path(start)) is not None

    def transactions(self, start: int | None = None, end: int | None = None, *,
                     keep: bool = False) -> Iterator[Transaction]:
        """The chain from `start` (a transaction's start; default: the floor) up to `end` (default: the log's end).

        Ends early where a trim takes a file away meanwhile: look at the floor again.  Raises LogError at a gap.
        """
        position = self.floor() if start is None else start
        while end is None or position < end:
            transaction = self._follow(position, keep)
            if transaction is None:
                return
            yield transaction
            position = transaction.end

    def _follow(self, position: int, keep: bool) -> Transaction | None:
        try:
            return self.read(position, keep=keep)
        except FileNotFoundError:
            beyond = any(start > position for start in self.starts())
        if not beyond:
            return None
        try:
            return self.read(position, keep=keep)   # committed between the first look and the listing
        except FileNotFoundError:
            if position < self.floor():
                return None                         # trimmed
            raise LogError(f"a gap: transactions exist beyond {position}, but none starts there",
                           where=self._where(self.folder),
                           next_step="restore the missing file from a copy of the log") from None

    def commit(self, transaction: Transaction) -> bool:
        """Step 4.  True: committed, and durable.  False: somebody else was first, or there is a gap before it, or
        that place was committed and trimmed long ago: discard it and look for the log's end again.

        The first commit of all settles where the chain begins.
        """
        self._check(transaction)
        start, path = transaction.start, self.path(transaction.start)
        if not self._begun:
            self.open_at(start)
        if self.tail != start and self.end() != start:
            return self._lost()
        if not self.storage.create(path, encode(transaction)):
            return self._lost()
        if start < self.floor():                    # a late writer found the name of a trimmed file free
            self.storage.delete(path)
            return self._lost()
        self.tail = transaction.end
        self._cache.put(transaction)
        return True

    def rewrite(self, start: int, change: Callable[[Transaction], Transaction]) -> Transaction:
        """Replaces one transaction's rows: for erasure, the one case in which a log file changes.

        The caller holds the partition's lock; on an object store it is tried again until nobody came between.
        Raises FileNotFoundError where it was trimmed.
        """
        path = self.path(start)
        while True:
            self._cache.drop(start)
            version = self.storage.version(path)
            old = self.read(start)
            new = change(old)
            if replace(new, tables=old.tables) != old:
                raise ValueError("an erasure changes rows and nothing else")
            if version is not None and self.storage.replace_if(path, encode(new), version):
                return new

    def advance(self, published: int) -> None:
        """Says, durably, that tables and memory_log are complete below this position."""
        self._move(published=published)

    def trim(self, to: int) -> None:
        """Step 7: moves the floor durably, then deletes what lies below it."""
        self._move(published=to, floor=to)
        faults.at("floor-moved")
        self._sweep(to)

    def sweep(self) -> None:
        """Deletes what lies below the floor: a crash left it there in the middle of a trim, or of a late commit."""
        self._sweep(self.floor())

    def _sweep(self, floor: int) -> None:
        for start in map(int, filter(_is_start, self.storage.names(self.folder))):
            if start < floor:
                self.storage.delete(self.path(start))
                self._cache.drop(start)
                faults.at("trimmed")

    def path(self, start: int) -> str:
        return f"{self.folder}/{start:0{DIGITS}d}"

    @property
    def _floor_path(self) -> str:
        return f"{self.folder}/FLOOR"

    def _where(self, path: str) -> str:
        return f"{self.storage.root}/{path}"

    def _lost(self) -> bool:
        self.tail = None
        return False

    def _move(self, *, published: int, floor: int = 0) -> None:
        """Marks only ever rise, whoever moves them."""
        while True:
            version = self.storage.version(self._floor_path)
            old = self.marks()
            if old is None or version is None:
                raise LogError("no floor to move", where=self._where(self._floor_path))
            new = Marks(old.begin, max(old.floor, floor), max(old.published, published))
            if new == old or self.storage.replace_if(self._floor_path, _marks_bytes(new), version):
                return

    def _check(self, transaction: Transaction) -> None:
        where = f"{self.chain} [{transaction.start}, {transaction.end})"
        if (transaction.stream, transaction.partition) != (self.stream, self.partition):
            raise LogError(f"a transaction of {transaction.stream}/{transaction.partition}", where=where)
        if not 0 <= transaction.start < transaction.end:
            raise LogError("a transaction without a range", where=where)
        if self._segment is None:
            self._segment = segment_size(self.storage)
        if self._segment and (transaction.end - 1) // self._segment != transaction.start // self._segment:
            raise LogError(f"a transaction crosses a segment's end (segments of {self._segment})", where=where,
                           next_step="cut batches at segment ends")


def chains(storage: Storage) -> list[tuple[str, int]]:
    """(stream, partition) of every chain begun, sorted; the ledger's are among them."""
    found = []
    for name in storage.names(ROOT):
        if name.startswith("_"):
            continue
        for partition in storage.names(f"{ROOT}/{name}"):
            if partition.isdigit() and "FLOOR" in storage.names(f"{ROOT}/{name}/{partition}"):
                found.append((unquote(name, errors="surrogatepass"), int(partition)))
    return sorted(found)


def settle_segment_size(storage: Storage, size: int) -> int:
    """Writes the segment size into a new log's root.  Raises ConfigError where the log has another."""
    if not storage.create(META, json.dumps({"segment": size}).encode()):
        settled = segment_size(storage)
        if settled != size:
            raise ConfigError(f"these tables have segments of {settled} offsets, the configuration says {size}",
                              where="tables.segment", next_step=f"set tables.segment: {settled}, or write elsewhere")
    return size


def segment_size(storage: Storage) -> int | None:
    """The segment size of this log's root; None where none was settled yet."""
    try:
        return int(json.loads(storage.read(META))["segment"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as e:
        raise LogError(f"unreadable settings of the log: {e}", where=f"{storage.root}/{META}",
                       next_step='restore it: {"segment": N} with the N these tables were written with') from e


def safe_name(stream: str) -> str:
    """A stream's name as one path segment: percent-encoded where needed, so that unquote() gives it back.

    Never starts with ``_`` or ``.``, which readers of tables take for hidden files.
    """
    coded = "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in stream.encode("utf-8", "surrogatepass"))
    if coded[:1] in ("_", "."):
        coded = f"%{ord(coded[0]):02X}{coded[1:]}"
    if not 0 < len(coded) <= MAX_NAME:
        raise ConfigError("a stream's name is empty or too long for a path", where=repr(stream[:60]),
                          next_step=f"name streams with 1 to {MAX_NAME} bytes")
    return coded


def _marks_bytes(marks: Marks) -> bytes:
    return json.dumps(asdict(marks)).encode()


def _is_start(name: str) -> bool:
    return len(name) == DIGITS and name.isascii() and name.isdigit()


class _Cache:
    """The transactions used last, up to a number of bytes: those of open segments are published again and again."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._size = limit, 0
        self._held: OrderedDict[int, Transaction] = OrderedDict()

    def get(self, start: int) -> Transaction | None:
        if start in self._held:
            self._held.move_to_end(start)
        return self._held.get(start)

    def put(self, transaction: Transaction) -> None:
        self.drop(transaction.start)
        self._held[transaction.start] = transaction
        self._size += transaction.size
        while self._size > self._limit:
            self._size -= self._held.popitem(last=False)[1].size

    def drop(self, start: int) -> None:
        gone = self._held.pop(start, None)
        if gone is not None:
            self._size -= gone.size
