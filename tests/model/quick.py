"""Pure functions of the code under test, each computed once for the same arguments while a model is explored.

Schedules repeat each other's beginnings, so most files are encoded and decoded thousands of times.  Nothing else is
changed: what is kept is what the real function returned, and all of it is immutable.  Tables are known by identity, as
they come out of this memory again; it holds them, so that an identity never means another table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines import commit_log, rows, segments
from pipelines.tombstones import Tombstones
from pipelines.transaction import Transaction

MOST = 60_000
_known: dict[Hashable, tuple[Any, Any]] = {}


@contextmanager
def quick() -> Iterator[None]:
    wrapped: list[tuple[Any, str, Callable[..., Hashable]]] = [
        (rows, "to_tables", lambda *given: repr(given)),
        (commit_log, "encode", lambda t: (_transaction(t), tuple(sorted(t.view.items())), t.engine)),
        (commit_log, "decode", lambda data, where: (data, where)),
        (segments, "collect", lambda segment, transactions, first: (
            segment, first, tuple((_transaction(t), tuple(sorted(t.view.items()))) for t in transactions))),
        (segments, "to_parquet", id),
        (segments, "from_parquet", lambda data, table: (data, table)),
        (Tombstones, "scrub", lambda self, table: (id(table), tuple(sorted(t.place for t in self)))),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wrapped]
    for owner, name, key in wrapped:
        setattr(owner, name, _once(getattr(owner, name), name, key))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
        _known.clear()


def _once(function: Callable[..., Any], name: str, key: Callable[..., Hashable]) -> Callable[..., Any]:
    def once(*given: Any, **named: Any) -> Any:
        asked = (name, key(*given, **named))
        if asked not in _known:
            if len(_known) > MOST:
                _known.clear()
            _known[asked] = given, function(*given, **named)
        return _known[asked][1]

    return once


def _transaction(t: Transaction) -> tuple[Hashable, ...]:
    return t.stream, t.partition, t.start, t.end, tuple((name, id(table)) for name, table in t.tables.items())
