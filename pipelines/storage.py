"""Where the log and the tables lie: exclusive durable creation, atomic replacement, on disk and on object stores.

Paths are relative to the storage's root, with ``/`` between folders.  The protocol of the commit log rests on two
promises only, and both stores keep them:

- `create` makes a file that did not exist, whole and durable, for exactly one of any number of callers;
- `replace_if` puts a file over the one version the caller has seen, and over no other.

`lock` is real on one host.  On an object store nobody can tell a paused holder from a dead one, so there it holds
nobody up, and `replace_if` alone keeps an old writer from overwriting a newer one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from kie_ops.errors import ConfigError, EngramError

OBJECT_STORES = ("s3", "s3a", "gs", "az", "adl", "abfs", "abfss")
CHECKS = "_log/_CHECK"


class Storage(Protocol):
    """Files below one root.  Every call raises ServiceError where the store fails (full, forbidden, unreachable)."""

    root: str

    def create(self, path: str, data: bytes) -> bool:
        """Exclusive and durable: True where this call made the file.  False: it exists.

        On an object store whose answer got lost, False may also mean that an earlier attempt of this very call made
        it, and an error leaves open whether it exists: callers look.
        """
        ...

    def replace(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Atomic, whatever was there.  `durable=False` saves the fsync: after a power loss the file may be torn."""
        ...

    def replace_if(self, path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        """Atomic where the file's `version` still is this one (None: it does not exist); False: it is another.

        On a local disk the caller holds the `lock` that all writers of this path take.
        """
        ...

    def version(self, path: str) -> str | None:
        """A token that changes whenever the file's content does; None where there is no such file."""
        ...

    def read(self, path: str) -> bytes:
        """The whole file.  Raises FileNotFoundError."""
        ...

    def names(self, folder: str) -> list[str]:
        """Sorted names of files and folders right below; empty where there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Absent is fine."""
        ...

    def lock(self, path: str) -> AbstractContextManager[None]:
        """Exclusive among the processes and threads of one host; not re-entrant; let go when the process dies."""
        ...


def open_storage(root: str, options: Mapping[str, Any] | None = None) -> Storage:
    """The storage at `root`: a local path, file://, s3://bucket/prefix, gs://, az://.

    `options` are obstore's settings of an object store (for S3: endpoint, region, access_key_id, ...); its
    `client_options` and `retry_config` may stand among them.  Raises ConfigError.
    """
    from pipelines.storage_local import LocalStorage

    scheme, separator, _ = root.partition("://")
    if not separator or scheme == "file":
        folder = Path(root if not separator else unquote(urlsplit(root).path))
        if folder.exists() and not folder.is_dir():
            raise ConfigError("this is a file, where tables need a folder", where=f"tables.root = {root}",
                              next_step="name a folder; it is made where it is not there")
        return LocalStorage(folder)
    if scheme not in OBJECT_STORES:
        raise ConfigError(f"no storage for {scheme}://", where="tables.root",
                          next_step="use a local path, file://, s3://, gs:// or az://")
    from pipelines.storage_object import ObjectStorage

    return ObjectStorage(root, options)


def verify_exclusive(storage: Storage) -> None:
    """Startup check: creates one file twice and replaces it with a stale version.  Raises ConfigError where the
    store lets either pass, as then two workers would both commit."""
    path = f"{CHECKS}/{uuid.uuid4().hex}"
    try:
        first, second = storage.create(path, b"1"), storage.create(path, b"2")
        seen = storage.version(path)
        moved = storage.replace_if(path, b"33", seen)
        stale = storage.replace_if(path, b"444", seen)
        held = storage.read(path)
    except FileNotFoundError as e:
        raise ConfigError(f"the store does not keep what is written to it: {e}", where=storage.root,
                          next_step="check that the bucket or folder exists") from e
    finally:
        with suppress(EngramError):
            storage.delete(path)
    if (first, second, moved, stale, held) != (True, False, True, False, b"33"):
        raise ConfigError("the store does not honour exclusive creation or conditional replacement, so commits "
                          "would not be safe", where=f"tables.root: {storage.root}",
                          next_step="use a local disk, or an object store with conditional writes")


def local_root(storage: Storage) -> Path | None:
    """The root as a folder of this host, or None on an object store."""
    return None if "://" in storage.root else Path(storage.root)
