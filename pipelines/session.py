"""Opens what a command or a worker needs from a configuration: tables, memory, extractor.

Everything heavy is imported where it is opened, so that ``engram --help`` stays quick.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kie_ops.errors import ConfigError
from pipelines.config import Config

if TYPE_CHECKING:
    from kie_ops.extractor import Extractor
    from kie_ops.memory import Memory
    from memory_store.store import MemoryStore
    from pipelines.storage import Storage


def memory_folder(config: Config) -> Path:
    """Where the embedded memory keeps its data: `memory.data`, next to the tables' root unless absolute."""
    data = Path(config.memory.data)
    if data.is_absolute():
        return data
    from pipelines.storage import local_root

    root = local_root(open_tables(config))
    return (Path.cwd() if root is None else root.absolute().parent) / data


def open_tables(config: Config) -> Storage:
    """The storage at `tables.root`, a local folder or an object-store URL."""
    from pipelines import storage

    return storage.open_storage(config.tables.root, config.tables.options)


def open_store(config: Config, *, patience_s: float = 15.0, verify: bool = True) -> MemoryStore:
    """The memory at `memory.url`.

    patience_s: how long a server that does not answer is asked again.  verify: refuse one that is set so that
    memories may be lost.  Raises ServiceError where it does not answer, ConfigError where the URL is of no known kind.
    """
    url = config.memory.url
    if url == "local":
        from memory_store.local import LocalStore

        return LocalStore(config.namespace)
    from memory_store.redis_store import RedisStore

    if url == "embedded":
        url = _embedded(memory_folder(config))
    elif not url.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigError(
            f"no memory of this kind: {url}", where="memory.url",
            next_step="redis://host:port/db, unix:///path/to.sock, embedded, or local",
        )
    return RedisStore(url, config.namespace, patience_s=patience_s, verify=verify)


def open_both(config: Config, *, patience_s: float = 15.0, catch_up: bool = False) -> tuple[Storage, MemoryStore]:
    """Tables and memory.  One in this process is summed from the log first; others where `catch_up` asks for it."""
    from pipelines import recovery

    storage, store = open_tables(config), open_store(config, patience_s=patience_s)
    if catch_up or config.memory.url == "local":
        recovery.catch_up(storage, store)
    return storage, store


def _embedded(data: Path) -> str:
    """URL of the server on `data`: one that lives there, or one started here, which ends with this process."""
    from memory_store.server import EmbeddedServer

    server = EmbeddedServer(data)
    if server.owned:
        atexit.register(server.close)
    return server.url


def open_extractor(config: Config, memory: Memory | None = None) -> Extractor:
    """The extractor of `domain` with `memory`; the shards of a run share the cores."""
    from kie_ops.extractor import Extractor

    threads = config.engine.threads or max(1, (os.cpu_count() or 1) // config.source.shards)
    return Extractor.load(config.domain, memory=memory, threads=threads, token_budget=config.engine.token_budget)
