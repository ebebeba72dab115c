"""A memory by its setting: `local`, `embedded`, or the address of a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from memory_store.local import LocalStore
from memory_store.redis_store import RedisStore
from memory_store.server import EmbeddedServer
from memory_store.store import MemoryStore


@contextmanager
def opened(
    url: str, namespace: str, *, data: str | os.PathLike[str] = "memory", patience_s: float = 15.0
) -> Iterator[MemoryStore]:
    """The memory at `url`; for `embedded` a server on the folder `data`, ended with the context where it began here.

    Raises ConfigError for an address or a server that cannot be used, ServiceError for one that does not answer.
    """
    if url == "local":
        yield LocalStore(namespace)
    elif url == "embedded":
        with EmbeddedServer(data) as server:
            yield from _redis(server.url, namespace, patience_s)
    else:
        yield from _redis(url, namespace, patience_s)


def _redis(url: str, namespace: str, patience_s: float) -> Iterator[MemoryStore]:
    store = RedisStore(url, namespace, patience_s=patience_s)
    try:
        yield store
    finally:
        store.close()
