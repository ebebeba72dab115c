"""Both memories for the contract; a server for the session, and one of its own for tests that break it.

ENGRAM_TEST_REDIS=redis://host:6379/15 runs the contract against that server.  It is left as it was found.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memory_store.local import LocalStore
from memory_store.redis_store import RedisStore
from memory_store.server import EmbeddedServer
from memory_store.store import MemoryStore

REAL = os.environ.get("ENGRAM_TEST_REDIS")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if REAL:
        yield REAL
        return
    with EmbeddedServer(tmp_path_factory.mktemp("memory")) as server:
        yield server.url


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "memory") as server:
        yield server


@pytest.fixture
def redis_store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, f"test-{uuid.uuid4().hex}", patience_s=5)
    yield store
    store.clear()
    store.close()


@pytest.fixture(params=["local", "redis"])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    return LocalStore("test") if request.param == "local" else request.getfixturevalue("redis_store")


@pytest.fixture
def another(store: MemoryStore, redis_url: str) -> Callable[[], MemoryStore]:
    """A second client of the same memory."""
    if isinstance(store, LocalStore):
        return lambda: store
    return lambda: RedisStore(redis_url, store.namespace, patience_s=5)
