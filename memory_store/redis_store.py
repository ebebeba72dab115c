"""The memory in Redis or Valkey: exactly-once application per chain, atomic reads.  Layout: `memory_store.scripts`."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from kie_ops.errors import ServiceError
from kie_ops.memory import Cell, Increment, Recall
from memory_store import scripts
from memory_store.cell_text import argument, decode
from memory_store.cells import check_namespace, readable, summed
from memory_store.connection import Connection
from memory_store.health import Finding, findings, raise_errors
from memory_store.key_filter import KeyFilter
from memory_store.store import ERASURES, Applied, Stats

_PAGE = 256  # entries of the version log a read gives at most
_CELLS = 1_000  # cells a page when all are read
_SAMPLE = 200  # cells whose size is asked for in stats
_PATIENCE = 1_000  # reads in which new keys keep meeting the wanted ones
_DRAFT_S = 3_600  # a draft of `compact` that its maker left goes by itself


class _Read(NamedTuple):
    epoch: str | None
    length: int
    entries: list[bytes]
    view: dict[str, int]
    cells: list[bytes | None]


class RedisStore:
    """MemoryStore in a Redis server.  Safe among threads and processes; open it after a fork, not before.

    `patience_s`: how long a call is tried again while the server does not answer.  Opening it raises ServiceError
    where it does not, ConfigError where it is set so that memories may be lost (`check` names every finding).
    """

    def __init__(self, url: str, namespace: str, *, patience_s: float = 15.0, verify: bool = True) -> None:
        self.namespace = check_namespace(namespace)
        self._connection = Connection(url, patience_s=patience_s)
        self._client = self._connection.client
        base = f"engram:{{{namespace}}}:"
        self._base = [base + "applied", base + "meta", base + "keys"]
        self._prefix = base + "c:"
        self._scripts: dict[str, Any] = {}
        self._filter = KeyFilter()
        self._lock = threading.RLock()
        if verify:
            raise_errors(self.check(), self._connection.where)

    # -- reading

    def recall(self, keys: Collection[str]) -> Recall:
        wanted = set(keys)
        with self._lock:
            ask, asked_all = self._filter.may_contain(wanted), True
            for _ in range(_PATIENCE):
                read = self._read(ask, self._filter.known)
                new = self._filter.follow(read.epoch, read.length, read.entries)
                if new is None or self._filter.known < read.length:
                    ask, asked_all = [], False  # another version log, or far behind: first the log alone
                elif asked_all and new.isdisjoint(wanted):
                    return Recall({cell.key: cell for cell in decode(ask, read.cells, readable)}, read.view)
                else:
                    ask, asked_all = self._filter.may_contain(wanted), True
        raise ServiceError("the memory gains keys faster than they can be read", where=self._connection.where)

    def _read(self, keys: Collection[str], known: int) -> _Read:
        """One atomic read: MULTI ... EXEC."""

        def attempt() -> list[Any]:
            applied, meta, log = self._base
            pipe = self._client.pipeline(transaction=True)
            pipe.hmget(meta, ["epoch", "clearing"])
            pipe.llen(log)
            # The last known entry is read again: its token shows whether this is still the log that the client knows.
            pipe.lrange(log, max(known - 1, 0), known + _PAGE - 1)
            pipe.hgetall(applied)
            if keys:
                pipe.mget([self._prefix + key for key in keys])
            return pipe.execute()

        (epoch, clearing), length, entries, applied, *cells = self._connection.call(attempt)
        if clearing is not None:  # begun by a client that did not finish
            self._finish_clearing()
            return self._read(keys, known)
        view = {chain.decode(): int(at) for chain, at in applied.items()}
        return _Read(None if epoch is None else epoch.decode(), length, entries, view, cells[0] if cells else [])

    def positions(self) -> dict[str, int]:
        return self._read([], 0).view

    def cells(self) -> Iterator[Cell]:
        keys, view = self._keys()
        for read_at, cell in self._pages(sorted(keys)):
            if read_at != view:
                raise ServiceError("the memory changed while it was read as a whole", where=self._connection.where,
                                   next_step="stop the workers of this namespace, or try again when it is quiet")
            yield cell

    def by_age(self) -> Iterator[Cell]:
        keys, _ = self._keys()
        for _, cell in self._pages(keys):
            yield cell

    def _keys(self) -> tuple[list[str], dict[str, int]]:
        """Keys in order of their last creation, and the view at the end of reading them."""
        order: dict[str, None] = {}
        known = 0
        while True:
            read = self._read([], known)
            for entry in read.entries[1 if known else 0:]:
                known += 1
                for key in json.loads(entry)[1:]:
                    order.pop(key, None)
                    order[key] = None
            if known >= read.length:
                return list(order), read.view

    def _pages(self, keys: Sequence[str]) -> Iterator[tuple[dict[str, int], Cell]]:
        for at in range(0, len(keys), _CELLS):
            page = keys[at:at + _CELLS]
            read = self._read(page, 0)
            for cell in decode(page, read.cells):
                yield read.view, cell

    # -- writing

    def apply(
        self, chain: str, start: int, end: int, increments: Sequence[Increment], *, erasures: int
    ) -> Applied:
        return self._write(scripts.APPLY, [chain, start, end, erasures, ERASURES], increments)

    def erase(self, position: int, end: int, chain: str, offset: int, inverse: Sequence[Increment]) -> Applied:
        return self._write(scripts.ERASE, [ERASURES, position, end, chain, offset], inverse)

    def _write(self, script: str, header: list[Any], increments: Sequence[Increment]) -> Applied:
        sums = summed(increments)
        cells = [argument(cell) for cell in sums.values()]
        keys = [self._prefix + key for key in sums]
        head = [len(self._prefix.encode()), *header]
        return Applied(self._run(script, keys, [*head, *cells], token=True).decode())

    def clear(self) -> None:
        with self._lock:
            self._filter.reset(None)
            self._run(scripts.CLEAR_BEGIN, [], [])
            self._finish_clearing()

    def _finish_clearing(self) -> None:
        """Removes the cells by the version log, from its end; any number of clients may do so at once."""
        while True:
            entry = self._connection.call(lambda: self._client.lindex(self._base[2], -1))  # type: ignore[arg-type]
            if entry is None:
                break
            keys = [self._prefix + key for key in json.loads(entry)[1:]]  # type: ignore[arg-type]
            self._run(scripts.CLEAR_ENTRY, keys, [entry])
        self._run(scripts.CLEAR_END, [], [])

    def compact(self) -> bool:
        """Rewrites the version log with the keys that have cells, in the same order.  Readers load it anew.

        What is created while it runs is kept.
        """
        first = self._read([], 0)
        keys, _ = self._keys()
        living = [cell.key for _, cell in self._pages(keys)]
        draft = f"{self._base[2]}:{secrets.token_hex(8)}"
        for at in range(0, len(living), _CELLS):
            entry = json.dumps([secrets.token_hex(8), *living[at:at + _CELLS]])
            self._connection.call(partial(self._client.rpush, draft, entry))  # an entry twice does no harm
            self._connection.call(partial(self._client.expire, draft, _DRAFT_S))
        arguments = [first.epoch or "", first.length, secrets.token_hex(8), len(living)]
        return bool(self._run(scripts.COMPACT, [draft], arguments))

    # -- keeping

    def check(self) -> list[Finding]:
        """What doctor reports of this server."""
        return self._connection.call(lambda: findings(self._client))

    def stats(self) -> Stats:
        read = self._read([], 0)
        meta = self._connection.call(lambda: self._client.hmget(self._base[1], ["cells", "fields", "logged"]))
        cells, fields, logged = (int(n or 0) for n in meta)  # type: ignore[union-attr]
        sizes = self._connection.call(lambda: self._sizes(read.length))
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        return Stats(cells, fields, int(mean * cells), logged, read.view)

    def _sizes(self, entries: int) -> list[int]:
        """Bytes of some cells, spread over the version log."""
        pipe = self._client.pipeline(transaction=False)
        for i in range(0, entries, max(1, entries // _SAMPLE)):
            pipe.lindex(self._base[2], i)
        drawn = [json.loads(entry)[1:] for entry in pipe.execute() if entry]
        for keys in drawn:
            for key in keys[::max(1, len(keys) * len(drawn) // _SAMPLE)]:
                pipe.memory_usage(self._prefix + key)
        return [size for size in pipe.execute() if size]

    def close(self) -> None:
        self._client.close()

    # -- scripts

    def _run(self, script: str, keys: list[str], arguments: list[Any], *, token: bool = False) -> Any:
        """One script.  Each attempt has a token of its own (see KeyFilter.follow)."""
        call = self._scripts.get(script)
        if call is None:
            call = self._scripts[script] = self._client.register_script(script)

        def attempt() -> Any:
            head = [secrets.token_hex(8)] if token else []
            return call(keys=[*self._base, *keys], args=[*head, *arguments])

        try:
            return self._connection.call(attempt)
        except Exception as e:
            if not (isinstance(e.__cause__, ResponseError) and str(e.__cause__).startswith(scripts.CLEARING)):
                raise
        self._finish_clearing()  # begun by a client that did not finish
        return self._connection.call(attempt)
